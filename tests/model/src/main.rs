//! Explores the protocol within bounds that are given as `name=number`, and tells how many states there are:
//!
//! `cargo run --profile quick -p model -- requests=2 generators=2 invalid_rows=2 seconds=600`

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use model::Protocol;
use stateright::{Checker, Model};

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut protocol = Protocol::SMALLEST;
    let mut seconds: u16 = 3600;
    for argument in std::env::args().skip(1) {
        let read = argument.split_once('=').and_then(|(name, number)| Some((name, number.parse::<u16>().ok()?)));
        let known = match read {
            Some(("seconds", number)) => {
                seconds = number;
                true
            }
            Some((name, number)) => u8::try_from(number).is_ok_and(|number| protocol.bound(name, number)),
            None => false,
        };
        if !known {
            let _ = writeln!(out, "{argument}: there is no such bound; a bound is name=number, as in {protocol:?}");
            return ExitCode::from(2);
        }
    }
    let began = Instant::now();
    let limit = Duration::from_secs(seconds.into());
    let checker = protocol.checker().threads(2).timeout(limit).spawn_dfs().join();
    let spent = began.elapsed();
    let _ = writeln!(
        out,
        "{} states, {} transitions, depth {}, {:.1} s{}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        spent.as_secs_f64(),
        if spent < limit { "" } else { ": not all of them, the time is over" },
    );
    let Some(path) = checker.discovery(Protocol::HOLD) else { return ExitCode::SUCCESS };
    for violation in checker.model().violations(path.last_state()) {
        let _ = writeln!(out, "{violation}");
    }
    for action in path.into_actions() {
        let _ = writeln!(out, "  {action:?}");
    }
    ExitCode::FAILURE
}
