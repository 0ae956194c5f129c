//! A page of payouts, of any bytes: the generator's reader must not panic, and must read what the SDK reads.
//!
//! With a nightly toolchain: `cargo fuzz run page --fuzz-dir tests/fuzz`. On stable, from this crate's folder:
//!
//! ```sh
//! RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!   -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!   -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
//!   cargo run --release --target-dir ../../target/fuzz --target x86_64-unknown-linux-gnu --bin page -- -max_total_time=60 corpus/page
//! ```
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| aws::dynamodb::fuzz_page(body));
