//! `cargo bench-generator`: generate-export's release binary against its peers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::contender::{Contender, Sample, Task, Workshop};
use bench::payouts::Payouts;
use bench::plan::{HELP, Plan, Scenario};
use bench::report::{Measured, Report, thousands};
use bench::{Error, build, build_rust_peers, chart, make_python, rust_peers};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("cargo bench-generator: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let Some(plan) = Plan::from_arguments(std::env::args().skip(1))? else {
        std::io::stdout().write_all(HELP.as_bytes())?;
        return Ok(());
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let workshop = prepare(&root, &plan)?;
    let started = Instant::now();
    let mut results = Vec::new();
    for scenario in &plan.scenarios {
        results.extend(measure(&workshop, scenario)?);
    }
    let report = Report::new(results);
    say(&report.to_text());
    let is_release = workshop.binaries.file_name().is_some_and(|profile| profile == "release");
    let folder = if plan.is_whole && is_release { root.join("tests/bench/results") } else { workshop.scratch };
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("generator.json"), format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    fs::write(folder.join("generator.md"), report.to_markdown())?;
    if let Some(picture) = chart::draw(&report) {
        fs::write(folder.join("generator.svg"), picture)?;
    }
    let kept = folder.strip_prefix(&root).unwrap_or(&folder);
    say(&format!("{} s; results are in {}", started.elapsed().as_secs(), kept.display()));
    Ok(())
}

/// Sees to it that everything is there.
fn prepare(root: &Path, plan: &Plan) -> Result<Workshop, Error> {
    let binaries = std::env::current_exe()?.parent().ok_or("this command has no folder")?.to_owned();
    if plan.builds {
        // Each by itself: built together, the function would get the features that only the benchmark asks for.
        build(root, &binaries, &["--package", "generate-export"])?;
        build(root, &binaries, &["--package", "bench", "--bins"])?;
    }
    let has = |wanted| {
        plan.scenarios
            .iter()
            .any(|scenario| scenario.runs.iter().any(|(contender, runs)| *contender == wanted && *runs > 0))
    };
    if plan.builds && has(Contender::Plain) {
        build_rust_peers(root)?;
    }
    let scratch = root.join("target/bench");
    fs::create_dir_all(&scratch)?;
    let python = root.join("target/venv/bin/python");
    if has(Contender::Python) {
        make_python(root, "tests/requirements.txt", "target/venv")?;
    }
    Ok(Workshop {
        binaries,
        rust_peers: rust_peers(root),
        peers: root.join("tests/bench/peers"),
        python,
        scratch,
        settings: plan.settings.clone(),
    })
}

/// Runs all contenders in turns, so that whatever else the machine does meets them all alike.
fn measure(workshop: &Workshop, scenario: &Scenario) -> Result<Vec<Measured>, Error> {
    say(&format!("\n{} rows, {}", thousands(scenario.rows), scenario.title()));
    let payouts = Payouts::new(scenario.rows, scenario.spread);
    let file = Scratch(workshop.scratch.join("payouts.csv"));
    let expected = payouts.write_csv(&mut BufWriter::new(File::create(&file.0)?))?;
    let task = Task {
        payouts,
        conditions: scenario.conditions(),
        time_limit: Duration::from_secs(scenario.time_limit_seconds),
        expected,
        file: file.0.clone(),
    };
    let mut samples: BTreeMap<Contender, Vec<Sample>> = BTreeMap::new();
    let most = scenario.runs.iter().map(|(_, runs)| *runs).max().unwrap_or(0);
    for round in 0..most {
        for (contender, _) in scenario.runs.iter().filter(|(_, runs)| *runs > round) {
            let sample = workshop.run(*contender, &task)?;
            say(&format!(
                "  {contender:<10} wall {:>7.2} s  CPU {:>8.3} s  peak {:>6.1} MiB{}",
                sample.wall_seconds,
                sample.cpu_seconds,
                sample.peak_kib as f64 / 1024.0,
                if sample.invocations > 1 { format!("  {} invocations", sample.invocations) } else { String::new() },
            ));
            samples.entry(*contender).or_default().push(sample);
        }
    }
    let file = (task.expected.bytes, task.expected.sha256.as_str());
    Ok(samples.into_iter().map(|(contender, runs)| Measured::new(scenario, contender, file, runs)).collect())
}

/// A large file that is gone when this is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is made anew each time, so one that is left does no harm but for its size.
        let _ = fs::remove_file(&self.0);
    }
}

#[expect(clippy::disallowed_macros, reason = "a command talks to the person who runs it")]
fn say(text: &str) {
    eprintln!("{text}");
}
