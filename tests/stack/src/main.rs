//! `cargo local`: finds a Python that can run the local stack and becomes it.
//!
//! The local stack itself is Python (`tests/stack/local.py`), because the emulator it drives is. This launcher exists
//! so that one `cargo` command is the whole set-up, and a missing Python is one clear line.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Interpreters to try, in this order. Versioned names help where `python3` is an old one.
const INTERPRETERS: [&str; 6] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
const IS_RECENT_ENOUGH: &str = "import sys; sys.exit(sys.version_info < (3, 10))";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let Some(python) = INTERPRETERS.into_iter().find(|name| is_recent_enough(name)) else {
        return fail("cargo local: needs Python 3.10 or later, and found none as python3. Install it and try again.");
    };
    // Paths among the arguments are meant from where the command was typed.
    let typed_in = std::env::current_dir().unwrap_or_default();
    // On success the process is Python from here on: signals and exit code need no forwarding.
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
    // Nothing is left to tell when standard error itself is gone.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}
