//! The export's protocol, every interleaving of it within bounds, checked by [`stateright`].
//!
//! The transitions are the domain's own ([`exports_domain::lifecycle`], [`exports_domain::export::Export::accept`]): each process here
//! decides with them on a copy of the record that it read, and later carries the step out with
//! [`Step::apply`](exports_domain::lifecycle::Step::apply) on the record as it is then. What surrounds them (which call follows
//! which in a generator, a sweep, a resend) is told here again, one call to the outside a step. The properties are
//! [`exports_domain::invariants`].
//!
//! What may happen between any two steps:
//! - time passes, so that a lease runs out while its owner still works and still writes, to the table and to the bucket;
//! - a message is delivered and stays (it comes twice, late, or after its export has ended), or is lost;
//! - a call has no effect, or has its effect and its response is lost, or its process dies.
//!
//! The last two spend a budget of invalid_rows. Time, doubled messages and slow processes are free.
//!
//! [`Broken`] takes a safeguard away, to see that its absence is found.

mod broken;
mod protocol;
mod state;
#[cfg(test)]
mod tests;
mod world;

pub use broken::Broken;
pub use protocol::{Action, Outcome, Protocol};
pub use state::State;
