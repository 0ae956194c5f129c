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

use std::path::Path;
use std::process::Command;

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

/// Builds what is to be measured, in the profile that `binaries` are of: those beside this command.
///
/// # Errors
/// If that fails; cargo has told why.
pub fn build(root: &Path, binaries: &Path, what: &[&str]) -> Result<(), Error> {
    let profile = binaries.file_name().and_then(|name| name.to_str()).unwrap_or("release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--profile", profile]).args(what).current_dir(root);
    if command.status()?.success() { Ok(()) } else { Err(format!("{} is not built", what.join(" ")).into()) }
}
