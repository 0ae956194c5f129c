//! `cargo local`: finds a Python interpreter and runs the local stack with it.
//!
//! The local stack (`tests/stack/local.py`) is written in Python, like the emulator it uses. With this launcher, one
//! `cargo` command is the whole set-up, and a missing Python gives a clear error.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The interpreters to try, in this order. `python3` may be an old version.
const INTERPRETERS: [&str; 6] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
const IS_RECENT_ENOUGH: &str = "import sys; sys.exit(sys.version_info < (3, 10))";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let Some(python) = INTERPRETERS.into_iter().find(|name| is_recent_enough(name)) else {
        return fail("cargo local: needs Python 3.10 or later, but found none. Install it and try again.");
    };
    // Paths in the arguments are relative to the caller's working directory.
    let typed_in = std::env::current_dir().unwrap_or_default();
    // `exec` replaces this process, so signals and the exit code need no forwarding.
    let error = Command::new(python)
        .arg("tests/stack/local.py")
        .args(std::env::args_os().skip(1))
        .env("CARGO_LOCAL_TYPED_IN", typed_in)
        .current_dir(root)
        .exec();
    fail(&format!("cargo local: cannot run {python}: {error}"))
}

fn is_recent_enough(python: impl AsRef<OsStr>) -> bool {
    Command::new(python)
        .args(["-c", IS_RECENT_ENOUGH])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn fail(message: &str) -> ExitCode {
    // There is nowhere to report that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}
