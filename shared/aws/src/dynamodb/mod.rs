//! The tables: Exports, Payouts and ApiKeys.

mod api_keys;
mod exports;
mod item;
mod page;
mod payouts;
mod query;
mod record;
mod step;

pub use api_keys::ApiKeysTable;
pub use exports::ExportsTable;
pub use payouts::PayoutsTable;

#[cfg(test)]
mod tests;
