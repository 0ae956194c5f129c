//! Reads a dump of a running system, one JSON document on the standard input, and prints each invariant that does not
//! hold of it, one a line. Exits with 1 if there is any, and with 2 if the dump cannot be read.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let checked = check_invariants::check(std::io::stdin().lock());
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    // Whoever does not read the output has the exit code all the same.
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
