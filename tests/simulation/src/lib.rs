//! Runs the real handlers in a simulated world, one history after another, each repeatable from its seed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a mistake of the simulation must stop it")]

mod broken;
mod call;
mod choices;
mod clients;
mod judge;
mod ports;
mod processes;
mod report;
mod rows;
mod run;
mod scenario;
mod shrink;
#[cfg(test)]
mod tests;
mod workbook;
mod world;

pub use broken::Broken;
pub use choices::Choices;
pub use report::{Coverage, Found, RESULTS, find, find_all, recorded_limits, safeguards};
pub use run::{Outcome, run};
pub use shrink::smaller;
