//! Runs histories.
//!
//! | arguments | |
//! |---|---|
//! | `--histories N --from SEED` | runs so many histories from this seed on, on all processors; with `--update DIGEST`, writes the table of calls and failures, with the digest of its inputs |
//! | `--seed SEED` | runs one history, and prints what happens in it or in a smaller one that fails, too |
//! | `--safeguards` | looks for each missing safeguard within its limit; with `--update`, writes the table of limits |
//! | `--missing NAME` | with the first two: without this safeguard |
#![expect(clippy::disallowed_macros, reason = "a program for the command line")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::{Broken, Choices, Coverage, RESULTS, find_all, recorded_limits, run, safeguards, smaller};

const OPTIONS: [&str; 6] = ["--histories", "--from", "--seed", "--missing", "--safeguards", "--update"];

fn main() -> ExitCode {
    simulate().unwrap_or_else(|problem| {
        eprintln!("simulate: {problem}");
        ExitCode::FAILURE
    })
}

/// Does what the arguments name. Returns an error if they are invalid.
fn simulate() -> Result<ExitCode, String> {
    let mut arguments = BTreeMap::new();
    let mut words = std::env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        arguments.insert(word, words.next_if(|next| !next.starts_with("--")).unwrap_or_default());
    }
    if let Some(unknown) = arguments.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
        return Err(format!("no option is called {unknown:?}"));
    }
    let number = |name: &str| {
        let text = arguments.get(name);
        text.map(|text| text.parse::<u64>().map_err(|_| format!("{name} is not a number: {text:?}"))).transpose()
    };
    let named = |name: &String| Broken::named(name).ok_or_else(|| format!("no safeguard is called {name:?}"));
    let broken = arguments.get("--missing").map(named).transpose()?;
    let is_update = arguments.contains_key("--update");
    if arguments.contains_key("--safeguards") {
        return Ok(look_for_safeguards(is_update));
    }
    if let Some(seed) = number("--seed")? {
        return Ok(show(seed, broken));
    }
    let (histories, from) = (number("--histories")?.unwrap_or(1000), number("--from")?.unwrap_or(0));
    let (failed, coverage) = run_all(from, histories, broken);
    if is_update
        && !write("coverage.md", &coverage.table(histories, arguments.get("--update").map_or("", String::as_str)))
    {
        return Ok(ExitCode::FAILURE);
    }
    Ok(failed.map_or(ExitCode::SUCCESS, |seed| show(seed, broken)))
}

/// Writes a table of the results. Returns whether it could.
fn write(name: &str, table: &str) -> bool {
    let path = format!("{RESULTS}/{name}");
    let written = std::fs::write(&path, table);
    if let Err(error) = &written {
        eprintln!("{path}: {error}");
    }
    written.is_ok()
}

/// Looks for the missing safeguards.
fn look_for_safeguards(is_update: bool) -> ExitCode {
    let limits = (!is_update).then(recorded_limits);
    let found = find_all(limits.as_ref());
    for (broken, found) in &found {
        match found {
            Some((number, violation)) => println!("{broken:?}: found in history {number}: {violation}"),
            None => println!("{broken:?}: not found"),
        }
    }
    let is_written = !is_update || write("safeguards.md", &safeguards(&found));
    match is_written && found.iter().all(|(_, found)| found.is_some()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs histories on all processors. Returns the lowest seed that failed.
fn run_all(from: u64, histories: u64, broken: Option<Broken>) -> (Option<u64>, Coverage) {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let failed = Mutex::new(None::<u64>);
    let coverage = Mutex::new(Coverage::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Coverage::default();
                while failed.lock().is_ok_and(|failed| failed.is_none()) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= histories {
                        break;
                    }
                    let outcome = run(Choices::random(from + index), broken, false);
                    own.add(&outcome.coverage);
                    if !outcome.violations.is_empty()
                        && let Ok(mut failed) = failed.lock()
                    {
                        *failed = failed.into_iter().chain([from + index]).min();
                    }
                }
                if let Ok(mut coverage) = coverage.lock() {
                    coverage.add(&own);
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let done = next.into_inner().min(histories);
    println!(
        "{done} histories from seed {from} in {seconds:.1} s on {threads} threads: {:.0} a second",
        done as f64 / seconds
    );
    (failed.into_inner().unwrap_or_default(), coverage.into_inner().unwrap_or_default())
}

/// Prints a history and, if it fails, a smaller one that fails, too.
fn show(seed: u64, broken: Option<Broken>) -> ExitCode {
    let outcome = run(Choices::random(seed), broken, true);
    if outcome.violations.is_empty() {
        println!("{}\nseed {seed}: nothing is violated", outcome.lines.join("\n"));
        return ExitCode::SUCCESS;
    }
    let before = outcome.choices.len();
    let choices = smaller(outcome.choices, broken);
    println!("seed {seed} fails; a smaller history, of {} instead of {before} choices:", choices.len());
    let outcome = run(Choices::of(choices), broken, true);
    println!("{}\n{}", outcome.lines.join("\n"), outcome.violations.join("\n"));
    let missing = broken.map_or_else(String::new, |broken| format!(" --missing {broken:?}"));
    println!("Run it again: target/quick/simulate --seed {seed}{missing}");
    ExitCode::FAILURE
}
