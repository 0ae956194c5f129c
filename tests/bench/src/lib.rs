//! Measures the functions' release binaries, and what would be written instead of them, side by side.
//!
//! Everything that is measured is a process of its own, talks to AWS as it would in production, and is told only where
//! AWS is. AWS is played in this process, on loopback, by a stand-in that is fast enough to stay out of the figures.
//!
//! | module | |
//! |---|---|
//! | [`payouts`] | the data: payouts by formula, as items of the table and as lines of the file |
//! | [`fake`] | AWS on loopback |
//! | [`runtime_api`] | Lambda's runtime API, which drives a function's binary |
//! | [`process`] | a process, and what the kernel knows of it |
//! | [`contender`] | one run of one contender |
//! | [`plan`] | which contenders run on what, and how often |
//! | [`report`] | medians, ratios and bars, as text, JSON and Markdown |
//! | [`chart`] | the same as a picture |

pub mod chart;
pub mod contender;
pub mod fake;
pub mod payouts;
pub mod plan;
pub mod process;
pub mod report;
pub mod runtime_api;

/// What went wrong, for the person who runs the benchmark.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
