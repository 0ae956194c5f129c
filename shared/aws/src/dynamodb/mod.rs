//! The tables: Exports, Payouts and ApiKeys.

mod api_keys;
mod exports;
mod history;
#[cfg(feature = "inspection")]
pub mod inspection;
mod item;
mod json;
mod page;
mod payouts;
mod record;
mod response;
mod step;

pub use api_keys::ApiKeysTable;
pub use exports::ExportsTable;
pub use payouts::PayoutsTable;
#[cfg(feature = "inspection")]
pub use record::next_check_state;

/// Reads any bytes as a page, as the generator does, and where both can read them holds that against what the SDK reads.
///
/// # Panics
/// If the two differ.
#[cfg(feature = "fuzzing")]
pub fn fuzz_page(body: &[u8]) {
    let (Ok(page), Ok(text)) = (page::read_page(body), str::from_utf8(body)) else { return };
    if let Some(plain) = page::plain::read_plainly(text) {
        assert_eq!(page, plain);
    }
}

#[cfg(test)]
mod tests;
