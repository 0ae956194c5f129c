//! Reads a dump of a running system from standard input and prints its violated invariants, one per line. The exit code
//! is 0 without violations, 1 with violations, and 2 if the dump is invalid.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let checked = check_invariants::check(std::io::stdin().lock());
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    // Output errors are ignored: the exit code is the result.
    match checked {
        Ok(violations) => {
            for violation in &violations {
                let _ = writeln!(out, "{violation}");
            }
            ExitCode::from(u8::from(!violations.is_empty()))
        }
        Err(error) => {
            let _ = writeln!(err, "check-invariants: {error}");
            ExitCode::from(2)
        }
    }
}
