//! `cargo bench-sweeper`: measures sweep-exports' release binary on a backlog.
//!
//! 100,000 checks are scheduled, as after a day without sweeps: expired links, stalled exports and some corrupt
//! records. The sweeper is invoked with its time-out until nothing is left to do, first alone, then two in parallel.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, ReturnValue, WriteRequest};
use bench::contender::{new_export, sdk_config};
use bench::fake::{Conditions, EXPORTS_TABLE, FakeAws, REGION};
use bench::process::Process;
use bench::report::thousands;
use bench::runtime_api::RuntimeApi;
use bench::source_rows::{Filter, SourceRows, Spread};
use bench::{Error, build, digest_of_inputs, is_release, line_of_inputs};
use exports_aws::dynamodb::{ExportsTable, next_check_state};
use exports_aws::system::LambdaSystem;
use exports_domain::export::{Export, State};
use exports_domain::export_type::ExportType;
use exports_domain::file::ExportFile;
use exports_domain::lifecycle::RE_ENQUEUE_AFTER;
use exports_domain::ports::{ExportStore as _, System as _};
use exports_domain::time::Timestamp;
use exports_domain::totals::Totals;
use serde::Deserialize;

const HELP: &str = "\
Measures sweep-exports' release binary on a backlog of scheduled checks.

  cargo bench-sweeper              100,000 checks (about two minutes after a release build); updates
                                   tests/bench/results/sweeper.md
  cargo bench-sweeper --checks N   another number of checks; prints the results only
  cargo bench-sweeper --help       print this text
";

const CHECKS: u64 = 100_000;
/// The function's time-out in the template.
const TIME_LIMIT: Duration = Duration::from_secs(50);
/// Maximum peak memory in MiB.
const MAX_MEMORY: f64 = 64.0;
/// More sweeps than the slowest machine needs.
const MAX_SWEEPS: usize = 60;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&format!("cargo bench-sweeper: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let checks = match arguments.as_slice() {
        [] => CHECKS,
        ["--checks", number] => number.parse().map_err(|_| format!("invalid number: {number}"))?,
        ["--help"] => {
            std::io::stdout().write_all(HELP.as_bytes())?;
            return Ok(());
        }
        _ => return Err(format!("unknown arguments {}; see --help", arguments.join(" ")).into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let binaries = std::env::current_exe()?.parent().ok_or("this command has no folder")?.to_owned();
    // Before the build, so that a result is not recorded as that of later changes.
    let inputs = line_of_inputs(&digest_of_inputs(&root, "sweeper")?);
    build(&root, &binaries, &["--package", "sweep-exports"])?;
    let scratch = root.join("target/bench");
    fs::create_dir_all(&scratch)?;
    let mut text = format!(
        "# sweep-exports on a backlog\n\nMeasured by `cargo bench-sweeper`: {} scheduled checks, {} of them of corrupt \
         records.\nThe time-out of a sweep is {} s, and the memory limit {MAX_MEMORY} MiB.\n\n{inputs}",
        thousands(checks),
        thousands(Backlog::of(checks).corrupt),
        TIME_LIMIT.as_secs()
    );
    for sweepers in [1, 2] {
        text += &measure(checks, sweepers, &binaries, &scratch)?;
    }
    print(&text);
    if checks == CHECKS && is_release(&binaries) {
        fs::write(root.join("tests/bench/results/sweeper.md"), text)?;
    }
    Ok(())
}

/// The numbers of scheduled checks by kind.
#[derive(Clone, Copy, Debug)]
struct Backlog {
    /// READY exports with an expired link.
    expired_links: u64,
    /// PENDING exports without a lease.
    stalled: u64,
    /// PENDING exports with a corrupt record.
    corrupt: u64,
}

impl Backlog {
    const fn of(checks: u64) -> Self {
        let (stalled, corrupt) = (checks / 10, checks / 50);
        Self { expired_links: checks - stalled - corrupt, stalled, corrupt }
    }
}

/// The response of sweep-exports.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SweepResult {
    re_enqueued: u64,
    failed: u64,
    expired: u64,
    unchanged: u64,
    errors: u64,
}

/// A running sweep-exports.
struct SweeperProcess {
    process: Process,
    api: RuntimeApi,
}

/// Runs this many sweepers in parallel until nothing is left to do, and checks that each check was handled once.
fn measure(checks: u64, sweepers: usize, binaries: &Path, scratch: &Path) -> Result<String, Error> {
    let backlog = Backlog::of(checks);
    let no_rows = SourceRows::new(ExportType::MarketplacePayouts, Filter::Off, 0, Spread::Even)?;
    let mut fake = FakeAws::start(no_rows, Conditions::default())?;
    print(&format!("writing {} exports", thousands(checks)));
    fake.block_on(seed(&fake.exports_url(), backlog))??;
    let mut running = Vec::new();
    for number in 0..sweepers {
        running.push(start(&fake, &binaries.join("sweep-exports"), &scratch.join(format!("sweeper-{number}.log")))?);
    }
    let title = if sweepers == 1 { "One sweep at a time".to_owned() } else { format!("{sweepers} sweeps in parallel") };
    let mut text = format!(
        "\n## {title}\n\n| sweep | seconds | expired | re-enqueued | unchanged | errors |\n|---|---|---|---|---|---|\n"
    );
    let mut all = SweepResult::default();
    for sweep in 1.. {
        if sweep > MAX_SWEEPS {
            return Err(format!("checks are left after {MAX_SWEEPS} sweeps").into());
        }
        let round = sweep_once(&mut running, sweep, &mut text)?;
        all.re_enqueued += round.re_enqueued;
        all.expired += round.expired;
        all.failed += round.failed;
        if round.re_enqueued + round.failed + round.expired == 0 {
            // Each sweep finds the corrupt records again. Earlier ones may have run out of time before.
            if round.errors != backlog.corrupt * sweepers as u64 {
                return Err(format!("{title}: {round:?} does not match {backlog:?}").into());
            }
            break;
        }
    }
    let mut jobs = 0;
    while fake.next_job().is_some() {
        jobs += 1;
    }
    if (all.expired, all.re_enqueued, all.failed, jobs) != (backlog.expired_links, backlog.stalled, 0, backlog.stalled)
    {
        return Err(format!("{title}: {all:?} and {jobs} jobs do not match {backlog:?}").into());
    }
    for SweeperProcess { process, .. } in running {
        let peak = process.finish()?.peak_kib as f64 / 1024.0;
        writeln!(text, "\nPeak memory {peak:.1} MiB.")?;
        if peak > MAX_MEMORY {
            return Err(format!("{title}: {peak:.1} MiB exceed {MAX_MEMORY}").into());
        }
    }
    writeln!(text, "Every link expired once, and every stalled export was re-enqueued once.")?;
    Ok(text)
}

/// Runs one sweep of each sweeper, in parallel.
fn sweep_once(sweepers: &mut [SweeperProcess], sweep: usize, text: &mut String) -> Result<SweepResult, Error> {
    let started = Instant::now();
    for sweeper in sweepers.iter() {
        sweeper.api.invoke("{}".to_owned(), TIME_LIMIT)?;
    }
    let mut all = SweepResult::default();
    for SweeperProcess { process, api } in sweepers.iter_mut() {
        let outcome = process.wait_for(&api.outcomes, TIME_LIMIT)?;
        let outcome = outcome.map_err(|error| process.failure(&format!("returned an error: {error}")))?;
        let swept: SweepResult = serde_json::from_slice(&outcome)?;
        all.re_enqueued += swept.re_enqueued;
        all.failed += swept.failed;
        all.expired += swept.expired;
        all.unchanged += swept.unchanged;
        all.errors += swept.errors;
    }
    let took = started.elapsed().as_secs_f64();
    let SweepResult { re_enqueued, expired, unchanged, errors, .. } = all;
    print(&format!(
        "  {took:.1} s: {expired} expired, {re_enqueued} re-enqueued, {unchanged} unchanged, {errors} errors"
    ));
    writeln!(text, "| {sweep} | {took:.1} | {expired} | {re_enqueued} | {unchanged} | {errors} |")?;
    Ok(all)
}

fn start(fake: &FakeAws, binary: &Path, log: &Path) -> Result<SweeperProcess, Error> {
    let api = fake.block_on(RuntimeApi::start())??;
    let mut command = Command::new(PathBuf::from(binary));
    command.env_clear().env("AWS_ENDPOINT_URL", fake.url()).env("AWS_REGION", REGION);
    command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
    command.env("AWS_LAMBDA_RUNTIME_API", api.address());
    command.env("AWS_LAMBDA_FUNCTION_NAME", "sweep-exports").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
    command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
    command.env("EXPORTS_TABLE", EXPORTS_TABLE).env("SENDER", "exports@example.com");
    // No generator handles the jobs, and re-enqueued exports must not be checked again during the benchmark.
    command.env("RE_ENQUEUE_AFTER", "1h");
    command.env("JOBS_QUEUE_URL", format!("{}/123456789012/jobs", fake.url()));
    Ok(SweeperProcess { process: Process::start("sweep-exports", &mut command, log)?, api })
}

/// Writes the backlog, each export with its own tenant.
async fn seed(url: &str, backlog: Backlog) -> Result<(), Error> {
    let config = sdk_config(url.to_owned());
    let client = aws_sdk_dynamodb::Client::new(&config);
    let now = LambdaSystem.now();
    let mut expired_links = new_export("ready-original", ExportType::MarketplacePayouts)?;
    make_ready(&mut expired_links, now.minus(Duration::from_secs(60)));
    let mut stalled = new_export("stalled-original", ExportType::MarketplacePayouts)?;
    if let State::Pending(pending) = &mut stalled.state {
        pending.next_check_at = now.minus(RE_ENQUEUE_AFTER);
    }
    let exports = ExportsTable::new(&config, EXPORTS_TABLE.to_owned());
    let expired_links = stored(&exports, &client, &expired_links).await?;
    let stalled = stored(&exports, &client, &stalled).await?;
    let mut corrupt = stalled.clone();
    corrupt.insert("fencingToken".to_owned(), AttributeValue::S("corrupt".to_owned()));
    let mut requests = Vec::new();
    for number in 0..backlog.expired_links + backlog.stalled + backlog.corrupt {
        let original = match number {
            _ if number < backlog.expired_links => &expired_links,
            _ if number < backlog.expired_links + backlog.stalled => &stalled,
            _ => &corrupt,
        };
        let put = PutRequest::builder().set_item(Some(copied(original, number)?)).build()?;
        requests.push(WriteRequest::builder().put_request(put).build());
        if requests.len() == 25 || number + 1 == backlog.expired_links + backlog.stalled + backlog.corrupt {
            client.batch_write_item().request_items(EXPORTS_TABLE, std::mem::take(&mut requests)).send().await?;
        }
    }
    Ok(())
}

type Item = HashMap<String, AttributeValue>;

/// The export's record as stored in the table. Deletes the record.
async fn stored(exports: &ExportsTable, client: &aws_sdk_dynamodb::Client, export: &Export) -> Result<Item, Error> {
    exports.accept_export(export, None).await?;
    let deleted = client
        .delete_item()
        .table_name(EXPORTS_TABLE)
        .key("tenantId", AttributeValue::S(export.tenant.to_string()))
        .key("sk", AttributeValue::S(format!("EXPORT#{}", export.id)))
        .return_values(ReturnValue::AllOld)
        .send()
        .await?;
    deleted.attributes.ok_or_else(|| "the record does not exist".into())
}

/// The same record with another tenant and export ID.
fn copied(original: &Item, number: u64) -> Result<Item, Error> {
    let export = new_export(&format!("tenant-{number}"), ExportType::MarketplacePayouts)?;
    let state =
        original.get("nextCheckState").and_then(|state| state.as_s().ok()).ok_or("a record without nextCheckState")?;
    let status = state.split('#').next().unwrap_or_default().parse()?;
    let mut item = original.clone();
    for (name, value) in [
        ("tenantId", export.tenant.to_string()),
        ("sk", format!("EXPORT#{}", export.id)),
        ("exportId", export.id.to_string()),
        ("nextCheckState", next_check_state(status, &export.id)),
    ] {
        item.insert(name.to_owned(), AttributeValue::S(value));
    }
    Ok(item)
}

/// Makes the export READY with a link until `link_expires_at`.
fn make_ready(export: &mut Export, link_expires_at: Timestamp) {
    let file = ExportFile {
        key: format!("exports/{}/{}/1.csv", export.tenant, export.id),
        name: "marketplace-payouts.csv".to_owned(),
        rows: 1000,
        bytes: 230_000,
        sha256: "0".repeat(64),
        totals: Totals::default(),
        read: None,
        expires_at: LambdaSystem.now().plus(Duration::from_secs(86_400)),
    };
    export.state = State::Ready { file, link_expires_at };
}

#[expect(clippy::disallowed_macros, reason = "output of a command")]
fn print(text: &str) {
    eprintln!("{text}");
}
