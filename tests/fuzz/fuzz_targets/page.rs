//! A page of payouts, of any bytes: the generator's reader must not panic, and must read what the SDK reads.
//!
//! `tests/run fuzz` runs it for a minute, on stable. For longer, with a nightly toolchain:
//! `cargo fuzz run page --fuzz-dir tests/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| exports_aws::dynamodb::fuzz_page(body));
