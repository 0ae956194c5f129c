//! `cargo bench-start`: measures cold starts and warm requests of every function's release binary, and of the same routes
//! in Python, Node.js and plain Rust.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use bench::start::{Implementation, REFERENCE, SUBJECTS, StartBench, Turns};
use bench::start_report::{StartReport, StartSummary};
use bench::{
    Error, build, build_rust_peers, cost, create_venv, digest_of_inputs, is_release, line_of_inputs, rust_peers,
    start_chart,
};

const HELP: &str = "\
Measures every function's release binary: CPU time of initialization, first and warm requests, memory, size and AWS calls.
Compares three routes with implementations in Python, Node.js and plain Rust.

  cargo bench-start               the full benchmark (about 10 minutes after a release build); updates
                                  tests/bench/results. Needs Python, and Node.js 20 with npm
  cargo bench-start --footprint   only the functions, few starts; exit code 1 if the size, memory or AWS calls of one
                                  exceed the target; results in target/bench
  cargo bench-start --quick       all implementations, few starts (about 2 minutes); results in target/bench
  cargo bench-start --help        print this text
";

/// The benchmark that the command line requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Full,
    Quick,
    Footprint,
}

impl Mode {
    /// The number of starts per function, and how many of these also measure warm events.
    const fn starts(self) -> (u32, u32) {
        match self {
            Self::Full => (21, 7),
            Self::Quick => (5, 1),
            Self::Footprint => (1, 1),
        }
    }

    const fn has_peers(self) -> bool {
        !matches!(self, Self::Footprint)
    }
}

/// Number of warm events.
const WARM_EVENTS: u32 = 1000;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print(&format!("cargo bench-start: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all footprint targets are met.
fn run() -> Result<bool, Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let mode = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Mode::Full,
        ["--quick"] => Mode::Quick,
        ["--footprint"] => Mode::Footprint,
        ["--help"] => {
            std::io::stdout().write_all(HELP.as_bytes())?;
            return Ok(true);
        }
        _ => return Err(format!("unknown arguments {}; see --help", arguments.join(" ")).into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    // Before the build, so that a result is not recorded as that of later changes.
    let inputs = digest_of_inputs(&root, "start")?;
    let bench = prepare(&root, mode)?;
    let started = Instant::now();
    let report = StartReport::new(measure(&bench, mode)?, inputs);
    print(&report.to_text());
    let folder = if mode == Mode::Full && is_release(&bench.binaries) {
        root.join("tests/bench/results")
    } else {
        bench.scratch
    };
    fs::write(folder.join("start.json"), format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    fs::write(folder.join("start.md"), report.to_markdown())?;
    if let Some(picture) = start_chart::draw(&report) {
        fs::write(folder.join("start.svg"), format!("{picture}<!-- {} -->\n", report.inputs))?;
    }
    if mode.has_peers() {
        let exports = fs::read_to_string(root.join("tests/bench/results/generator.json"))?;
        let inputs = line_of_inputs(&digest_of_inputs(&root, "cost")?);
        fs::write(folder.join("cost.md"), format!("{}\n{inputs}", cost::table(&report, &exports)?))?;
    }
    let shown = folder.strip_prefix(&root).unwrap_or(&folder);
    print(&format!("{} s; results are in {}", started.elapsed().as_secs(), shown.display()));
    Ok(report.footprint.iter().all(|target| target.is_met))
}

/// Builds the binaries and installs the peers.
fn prepare(root: &Path, mode: Mode) -> Result<StartBench, Error> {
    let binaries = std::env::current_exe()?.parent().ok_or("this command has no folder")?.to_owned();
    // Without the benchmark, so that they are built without the features that only it enables.
    let packages: Vec<_> = SUBJECTS.iter().flat_map(|subject| ["--package", subject.name]).collect();
    build(root, &binaries, &packages)?;
    let scratch = root.join("target/bench");
    let bench = StartBench {
        root: root.to_owned(),
        binaries,
        plain: rust_peers(root).join("peer-routes"),
        node: scratch.join("node"),
        python: scratch.join("python"),
        scratch,
    };
    fs::create_dir_all(&bench.scratch)?;
    if mode.has_peers() {
        let peers = root.join("tests/bench/peers");
        build_rust_peers(root)?;
        let node = Command::new("node").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        if !node.starts_with(b"v20.") {
            let found = String::from_utf8_lossy(&node);
            return Err(format!("the Node.js peer needs Node.js 20 as `node`, found {found:?}").into());
        }
        copy(&peers.join("node"), &bench.node)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&bench.node);
        check(&mut npm, "the Node.js peer needs Node.js 20 with npm, and npm's registry")?;
        copy(&peers.join("python"), &bench.python)?;
        create_venv(root, "tests/bench/peers/python/requirements.txt", "target/bench/python/venv")?;
    }
    Ok(bench)
}

fn check(command: &mut Command, otherwise: &str) -> Result<(), Error> {
    if command.status().is_ok_and(|status| status.success()) { Ok(()) } else { Err(otherwise.into()) }
}

/// Copies a folder's files, so that packages are not installed in the source tree.
fn copy(from: &Path, to: &PathBuf) -> Result<(), Error> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Runs the implementations in turns, so that other load on the machine affects all of them.
fn measure(bench: &StartBench, mode: Mode) -> Result<Vec<StartSummary>, Error> {
    let (starts, warm_starts) = mode.starts();
    let mut results = Vec::new();
    for subject in &SUBJECTS {
        print(subject.name);
        let implementations: Vec<_> = match subject.peer {
            Some(_) if mode.has_peers() => Implementation::ALL.to_vec(),
            _ => vec![Implementation::Function],
        };
        let mut turns = Turns::default();
        for start in 0..starts {
            for implementation in &implementations {
                let warm = if subject.is_route && start < warm_starts { WARM_EVENTS } else { 0 };
                let sample = bench.start(subject, *implementation, warm)?;
                turns.starts.entry(*implementation).or_default().push(sample);
            }
            if subject.is_route && mode.has_peers() {
                let (reference, implementation) = REFERENCE;
                turns.references.push(bench.start(reference, implementation, 0)?);
            }
        }
        for implementation in turns.starts.keys() {
            let bytes = bench.binary_bytes(subject, *implementation)?;
            results.push(StartSummary::new(subject, *implementation, bytes, &turns));
        }
    }
    Ok(results)
}

#[expect(clippy::disallowed_macros, reason = "output of a command")]
fn print(text: &str) {
    eprintln!("{text}");
}
