//! `cargo bench-generator`: compares generate-export's release binary with its peers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::contender::{Contender, GeneratorBench, Sample, Task};
use bench::plan::{HELP, Plan, Scenario};
use bench::report::{ContenderSummary, Report, thousands};
use bench::source_rows::SourceRows;
use bench::{Error, build, build_rust_peers, chart, create_venv, digest_of_inputs, is_release, rust_peers};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&format!("cargo bench-generator: {error}"));
            for cause in std::iter::successors(error.source(), |cause| cause.source()) {
                print(&format!("caused by: {cause}"));
            }
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
    // Before the build, so that a result is not recorded as that of later changes.
    let inputs = digest_of_inputs(&root, "generator")?;
    let bench = prepare(&root, &plan)?;
    let started = Instant::now();
    let mut results = Vec::new();
    for scenario in &plan.scenarios {
        results.extend(measure(&bench, scenario)?);
    }
    let report = Report::new(results, inputs);
    print(&report.to_text());
    let folder =
        if plan.is_full && is_release(&bench.binaries) { root.join("tests/bench/results") } else { bench.scratch };
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("generator.json"), format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    fs::write(folder.join("generator.md"), report.to_markdown())?;
    if let Some(picture) = chart::draw(&report) {
        fs::write(folder.join("generator.svg"), format!("{picture}<!-- {} -->\n", report.inputs))?;
    }
    let shown = folder.strip_prefix(&root).unwrap_or(&folder);
    print(&format!("{} s; results are in {}", started.elapsed().as_secs(), shown.display()));
    Ok(())
}

/// Builds the binaries and creates the Python environment.
fn prepare(root: &Path, plan: &Plan) -> Result<GeneratorBench, Error> {
    let binaries = std::env::current_exe()?.parent().ok_or("this command has no folder")?.to_owned();
    if plan.builds {
        // Separately, so that the function is built without the features that only the benchmark enables.
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
    let baseline = plan.baseline.as_deref().map(|file| {
        file.canonicalize().map_err(|error| format!("cannot read the baseline {}: {error}", file.display()))
    });
    let scratch = root.join("target/bench");
    fs::create_dir_all(&scratch)?;
    let python = root.join("target/venv/bin/python");
    if has(Contender::Python) {
        create_venv(root, "tests/requirements.txt", "target/venv")?;
    }
    Ok(GeneratorBench {
        binaries,
        baseline: baseline.transpose()?,
        rust_peers: rust_peers(root),
        peers: root.join("tests/bench/peers"),
        python,
        scratch,
        settings: plan.settings.clone(),
    })
}

/// Runs the contenders in turns, so that other load on the machine affects all of them. The order alternates: A B B A.
fn measure(bench: &GeneratorBench, scenario: &Scenario) -> Result<Vec<ContenderSummary>, Error> {
    print(&format!("\n{} rows, {}", thousands(scenario.rows), scenario.title()));
    let rows = SourceRows::new(scenario.export_type, scenario.filter, scenario.rows, scenario.spread)?;
    let file = TemporaryFile(bench.scratch.join("expected.csv"));
    let expected = rows.write_csv(&mut BufWriter::new(File::create(&file.0)?))?;
    let task = Task {
        rows,
        conditions: scenario.conditions(),
        // Without the limit, the generator is not paced either.
        read_share: scenario.read_share.unwrap_or(1_000_000),
        time_limit: Duration::from_secs(scenario.time_limit_seconds),
        expected,
        file: file.0.clone(),
    };
    let mut samples: BTreeMap<Contender, Vec<Sample>> = BTreeMap::new();
    let rounds = scenario.runs.iter().map(|(_, runs)| *runs).max().unwrap_or(0);
    for round in 0..rounds {
        let mut turn: Vec<_> = scenario.runs.iter().filter(|(_, runs)| *runs > round).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (contender, _) in turn {
            let sample = bench.run(*contender, &task)?;
            print(&format!(
                "  {contender:<10} wall {:>7.2} s  CPU {:>8.3} s  peak {:>6.1} MiB{}",
                sample.wall_seconds,
                sample.cpu_seconds,
                sample.peak_kib as f64 / 1024.0,
                if sample.invocations > 1 { format!("  {} invocations", sample.invocations) } else { String::new() },
            ));
            samples.entry(*contender).or_default().push(sample);
        }
    }
    let summary = |(contender, runs)| ContenderSummary::new(scenario, contender, &task.expected, runs);
    Ok(samples.into_iter().map(summary).collect())
}

/// A temporary file.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Each scenario overwrites it.
        let _ = fs::remove_file(&self.0);
    }
}

#[expect(clippy::disallowed_macros, reason = "output of a command")]
fn print(text: &str) {
    eprintln!("{text}");
}
