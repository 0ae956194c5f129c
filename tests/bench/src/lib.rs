//! Compares the functions' release binaries with alternative implementations, the peers.
//!
//! Each is a separate process that calls AWS as in production, with another endpoint URL. The fake AWS runs in this
//! process, on loopback, and is fast enough not to affect the results.
//!
//! | module | |
//! |---|---|
//! | [`source_rows`] | the data: computed rows of any export type, as table items and as CSV lines |
//! | [`fake`] | the fake AWS |
//! | [`runtime_api`] | Lambda's runtime API, which invokes a function's binary |
//! | [`process`] | a measured process and its resource usage |
//! | [`contender`], [`plan`] | generate-export: one run of one contender; the scenarios and numbers of runs |
//! | [`start`] | every function: one process start, its first and further responses |
//! | [`comparison`] | generate-export against an earlier build |
//! | [`report`], [`start_report`] | medians, ratios and targets, as text, JSON and Markdown |
//! | [`chart`], [`start_chart`] | SVG charts |
//! | [`cost`] | costs in dollars |

use std::path::{Path, PathBuf};
use std::process::Command;

pub mod chart;
pub mod comparison;
pub mod contender;
pub mod cost;
pub mod fake;
pub mod plan;
pub mod process;
pub mod report;
pub mod runtime_api;
pub mod source_rows;
pub mod start;
pub mod start_chart;
pub mod start_report;

/// An error for the person who runs the benchmark.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Runs `cargo build` with `arguments`, in the profile whose folder `binaries` is.
///
/// # Errors
/// If the build fails. Cargo has printed why.
pub fn build(root: &Path, binaries: &Path, arguments: &[&str]) -> Result<(), Error> {
    let profile = binaries.file_name().and_then(|name| name.to_str()).unwrap_or("release");
    let mut command = cargo();
    command.args(["build", "--profile", profile]).args(arguments).current_dir(root);
    if command.status()?.success() { Ok(()) } else { Err(format!("cannot build {}", arguments.join(" ")).into()) }
}

/// Whether `binaries` is the folder of release binaries. Only their results are committed.
#[must_use]
pub fn is_release(binaries: &Path) -> bool {
    binaries.ends_with("release")
}

/// Cargo, without the variables that `cargo run` sets for this command. The build script of ring reads them, so cargo
/// would compile ring again, and everything that uses it.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// The digest of the inputs of a committed result, which `tests/runner/results.py` lists.
///
/// # Errors
/// If Python is not available, or an input is missing.
pub fn digest_of_inputs(root: &Path, result: &str) -> Result<String, Error> {
    let output = Command::new("python3").args(["tests/runner/results.py", result]).current_dir(root).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    } else {
        Err(format!("cannot read the inputs of {result}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// The line of a result that names its inputs.
#[must_use]
pub fn line_of_inputs(digest: &str) -> String {
    format!("Inputs: `{digest}` (`tests/runner/results.py`)\n")
}

/// The folder of the peers in Rust that [`build_rust_peers`] builds.
#[must_use]
pub fn rust_peers(root: &Path) -> PathBuf {
    root.join("target/bench/rust/release")
}

/// Builds the peers in Rust: a separate workspace, with the SDK's default features.
///
/// # Errors
/// If the build fails. Cargo has printed why.
pub fn build_rust_peers(root: &Path) -> Result<(), Error> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--target-dir"]).arg(root.join("target/bench/rust"));
    command.current_dir(root.join("tests/bench/peers/rust"));
    if command.status()?.success() { Ok(()) } else { Err("cannot build the peers in Rust".into()) }
}

/// Creates a Python virtual environment in `folder` with the packages of `requirements`, unless it exists. Both paths
/// are relative to `root`.
///
/// # Errors
/// If Python or the package index is not available.
pub fn create_venv(root: &Path, requirements: &str, folder: &str) -> Result<(), Error> {
    // Not with PYTHONPATH, which would make the project's `venv` module shadow Python's own.
    let script = "import pathlib, sys; sys.path.insert(0, 'tests/stack'); import venv; \
                venv.ensure(requirements=pathlib.Path(sys.argv[1]).resolve(), folder=pathlib.Path(sys.argv[2]).absolute())";
    let mut python = Command::new("python3");
    python.args(["-c", script, requirements, folder]).current_dir(root);
    if python.status().is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err("the Python peer needs Python 3.10 or later, and the Python package index".into())
    }
}
