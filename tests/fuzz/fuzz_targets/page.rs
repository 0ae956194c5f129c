//! Fuzzes the generator's page reader: it must not panic, and must read every page as the SDK does.
//!
//! `tests/run fuzz` runs this target for a minute on stable Rust. To run it longer, with a nightly toolchain:
//! `cargo fuzz run page --fuzz-dir tests/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| exports_aws::dynamodb::fuzz_page(body));
