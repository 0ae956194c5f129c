//! `cargo bench-start`: every function's release binary from nothing to its first response and through a thousand more,
//! and the same routes in Python, Node.js and plain Rust.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use bench::start::{Bench, SUBJECTS, Start, Who};
use bench::start_report::{StartReport, Started};
use bench::{Error, build, build_rust_peers, cost, make_python, rust_peers, start_chart};

const HELP: &str = "\
Measures every function's release binary: CPU of its start, of its first response and of those after, memory, size and
calls to AWS; and the same routes in Python, Node.js and plain Rust, in turns.

  cargo bench-start               the whole of it (about 10 minutes, after a release build); refreshes
                                  tests/bench/results. Needs Python, and Node.js 20 with npm
  cargo bench-start --footprint   the functions alone, few starts: ends with exit code 1 if a binary, its memory or its
                                  number of calls to AWS is over its bar; keeps its results in target/bench
  cargo bench-start --quick       everybody, few starts (about 2 minutes); keeps its results in target/bench
  cargo bench-start --help        this text
";

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Whole,
    Quick,
    Footprint,
}

impl Plan {
    /// How often each function is started, and how many of these starts go on to further events.
    const fn starts(self) -> (u32, u32) {
        match self {
            Self::Whole => (21, 7),
            Self::Quick => (5, 1),
            Self::Footprint => (1, 1),
        }
    }

    const fn has_peers(self) -> bool {
        !matches!(self, Self::Footprint)
    }
}

/// How many events follow the first.
const FURTHER: u32 = 1000;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("cargo bench-start: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all that is no matter of time is as it has to be.
fn run() -> Result<bool, Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let plan = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Plan::Whole,
        ["--quick"] => Plan::Quick,
        ["--footprint"] => Plan::Footprint,
        ["--help"] => {
            std::io::stdout().write_all(HELP.as_bytes())?;
            return Ok(true);
        }
        _ => return Err(format!("unknown arguments {}; see --help", arguments.join(" ")).into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let bench = prepare(&root, plan)?;
    let began = Instant::now();
    let report = StartReport::new(measure(&bench, plan)?);
    say(&report.to_text());
    let is_release = bench.binaries.file_name().is_some_and(|profile| profile == "release");
    let is_kept = plan == Plan::Whole && is_release;
    let folder = if is_kept { root.join("tests/bench/results") } else { bench.scratch };
    fs::write(folder.join("start.json"), format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    fs::write(folder.join("start.md"), report.to_markdown())?;
    if let Some(picture) = start_chart::draw(&report) {
        fs::write(folder.join("start.svg"), picture)?;
    }
    if plan.has_peers() {
        let exports = fs::read_to_string(root.join("tests/bench/results/generator.json"))?;
        fs::write(folder.join("cost.md"), cost::table(&report, &exports)?)?;
    }
    let kept = folder.strip_prefix(&root).unwrap_or(&folder);
    say(&format!("{} s; results are in {}", began.elapsed().as_secs(), kept.display()));
    Ok(report.footprint.iter().all(|bar| bar.is_met))
}

/// Sees to it that everything is there.
fn prepare(root: &Path, plan: Plan) -> Result<Bench, Error> {
    let binaries = std::env::current_exe()?.parent().ok_or("this command has no folder")?.to_owned();
    // By themselves, as they are deployed: with the benchmark they would get the features that it asks for.
    let packages: Vec<_> = SUBJECTS.iter().flat_map(|subject| ["--package", subject.name]).collect();
    build(root, &binaries, &packages)?;
    let scratch = root.join("target/bench");
    let bench = Bench {
        root: root.to_owned(),
        binaries,
        plain: rust_peers(root).join("peer-routes"),
        node: scratch.join("node"),
        python: scratch.join("python"),
        scratch,
    };
    fs::create_dir_all(&bench.scratch)?;
    if plan.has_peers() {
        let peers = root.join("tests/bench/peers");
        build_rust_peers(root)?;
        let node = Command::new("node").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        if !node.starts_with(b"v20.") {
            let found = String::from_utf8_lossy(&node);
            return Err(format!("the Node.js peer needs Node.js 20 as `node`, and this is {found:?}").into());
        }
        copy(&peers.join("node"), &bench.node)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&bench.node);
        done(&mut npm, "the Node.js peer needs Node.js 20 with npm, and npm's registry")?;
        copy(&peers.join("python"), &bench.python)?;
        make_python(root, "tests/bench/peers/python/requirements.txt", "target/bench/python/venv")?;
    }
    Ok(bench)
}

fn done(command: &mut Command, otherwise: &str) -> Result<(), Error> {
    if command.status().is_ok_and(|status| status.success()) { Ok(()) } else { Err(otherwise.into()) }
}

/// Copies a folder's files, so that what is installed or compiled beside them stays out of the project.
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

/// All contenders in turns, so that whatever else the machine does meets them all alike.
fn measure(bench: &Bench, plan: Plan) -> Result<Vec<Started>, Error> {
    let (starts, further) = plan.starts();
    let mut results = Vec::new();
    for subject in &SUBJECTS {
        say(subject.name);
        let contenders: Vec<_> = match subject.peer {
            Some(_) if plan.has_peers() => Who::ALL.to_vec(),
            _ => vec![Who::Function],
        };
        let mut taken: BTreeMap<Who, Vec<Start>> = BTreeMap::new();
        for start in 0..starts {
            for who in &contenders {
                let warm = if subject.is_route && start < further { FURTHER } else { 0 };
                taken.entry(*who).or_default().push(bench.start(subject, *who, warm)?);
            }
        }
        for (who, starts) in taken {
            let bytes = bench.binary_bytes(subject, who)?;
            results.push(Started::new(subject.name, subject.is_route, who, bytes, &starts));
        }
    }
    Ok(results)
}

#[expect(clippy::disallowed_macros, reason = "a command talks to the person who runs it")]
fn say(text: &str) {
    eprintln!("{text}");
}
