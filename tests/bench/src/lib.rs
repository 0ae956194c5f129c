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
//! | [`contender`], [`plan`] | generate-export: one run of one contender; who runs on what, and how often |
//! | [`start`] | every function: one start of its process, its first response and those after |
//! | [`report`], [`start_report`] | medians, ratios and bars, as text, JSON and Markdown |
//! | [`chart`], [`start_chart`] | the same as a picture |
//! | [`cost`] | what that is in dollars |

use std::path::{Path, PathBuf};
use std::process::Command;

pub mod chart;
pub mod contender;
pub mod cost;
pub mod fake;
pub mod payouts;
pub mod plan;
pub mod process;
pub mod report;
pub mod runtime_api;
pub mod start;
pub mod start_chart;
pub mod start_report;

/// What went wrong, for the person who runs the benchmark.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Builds what is to be measured, in the profile that `binaries` are of: those beside this command.
///
/// # Errors
/// If that fails; cargo prints why.
pub fn build(root: &Path, binaries: &Path, what: &[&str]) -> Result<(), Error> {
    let profile = binaries.file_name().and_then(|name| name.to_str()).unwrap_or("release");
    let mut command = cargo();
    command.args(["build", "--profile", profile]).args(what).current_dir(root);
    if command.status()?.success() { Ok(()) } else { Err(format!("{} is not built", what.join(" ")).into()) }
}

/// Cargo, without what `cargo run` sets for this command. The build script of ring reads it, so cargo would compile ring
/// again, and everything that uses it.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Where [`build_rust_peers`] puts the peers in Rust.
#[must_use]
pub fn rust_peers(root: &Path) -> PathBuf {
    root.join("target/bench/rust/release")
}

/// Builds the peers in Rust: a workspace of their own, with the default features of the SDK.
///
/// # Errors
/// If that fails; cargo prints why.
pub fn build_rust_peers(root: &Path) -> Result<(), Error> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--target-dir"]).arg(root.join("target/bench/rust"));
    command.current_dir(root.join("tests/bench/peers/rust"));
    if command.status()?.success() { Ok(()) } else { Err("the peers in Rust are not built".into()) }
}

/// Makes a Python environment in `folder` with what `requirements` pins, unless it is there; both from the project's root.
///
/// # Errors
/// If there is no Python, or no package index.
pub fn make_python(root: &Path, requirements: &str, folder: &str) -> Result<(), Error> {
    // Not by PYTHONPATH: the Python that makes the environment would take the project's `venv` for its own.
    let make = "import pathlib, sys; sys.path.insert(0, 'tests/stack'); import venv; \
                venv.ensure(requirements=pathlib.Path(sys.argv[1]).resolve(), folder=pathlib.Path(sys.argv[2]).absolute())";
    let mut python = Command::new("python3");
    python.args(["-c", make, requirements, folder]).current_dir(root);
    if python.status().is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err("the Python peer needs Python 3.10 or later, and the Python package index".into())
    }
}
