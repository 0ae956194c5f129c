//! `cargo bench-sweeper`: sweep-exports' release binary in front of a backlog.
//!
//! A hundred thousand exports are due at once, as after a day on which no sweep ran: links that have ended, exports that
//! nobody works on, and some whose record cannot be read. The sweeper is invoked as Lambda would, with its time limit,
//! until nothing is left to do; then once more by two of them at once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, ReturnValue, WriteRequest};
use bench::contender::{new_export, sdk_config};
use bench::fake::{Conditions, EXPORTS_TABLE, Fake, REGION};
use bench::payouts::{Payouts, Spread};
use bench::process::Process;
use bench::report::thousands;
use bench::runtime_api::RuntimeApi;
use bench::{Error, build};
use exports_aws::dynamodb::{ExportsTable, next_check_state};
use exports_aws::system::LambdaSystem;
use exports_domain::export::{Export, Status};
use exports_domain::file::{ExportFile, Totals};
use exports_domain::lifecycle::RE_ENQUEUE_AFTER;
use exports_domain::ports::{ExportStore as _, System as _};
use serde::Deserialize;

const HELP: &str = "\
Puts sweep-exports' release binary in front of a backlog of due exports, and tells how it copes.

  cargo bench-sweeper              100,000 due exports (about two minutes, after a release build); refreshes
                                   tests/bench/results/sweeper.md
  cargo bench-sweeper --due N      another number of them; prints only
  cargo bench-sweeper --help       this text
";

const DUE: u64 = 100_000;
/// The function's time-out in the template.
const TIME_LIMIT: Duration = Duration::from_secs(50);
/// What the function may take of memory, in MiB.
const MAX_MEMORY: f64 = 64.0;
/// However slow the machine is, it is over after so many.
const MAX_SWEEPS: usize = 60;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("cargo bench-sweeper: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let due = match arguments.as_slice() {
        [] => DUE,
        ["--due", number] => number.parse().map_err(|_| format!("not a number: {number}"))?,
        ["--help"] => {
            std::io::stdout().write_all(HELP.as_bytes())?;
            return Ok(());
        }
        _ => return Err(format!("unknown arguments {}; see --help", arguments.join(" ")).into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let binaries = std::env::current_exe()?.parent().ok_or("this command has no folder")?.to_owned();
    build(&root, &binaries, &["--package", "sweep-exports"])?;
    let scratch = root.join("target/bench");
    fs::create_dir_all(&scratch)?;
    let mut text = format!(
        "# sweep-exports in front of a backlog\n\nMade by `cargo bench-sweeper`: {} exports are due at once, {} of them \
         with a record that cannot be read.\nA sweep ends after {} s at the latest, and may take {MAX_MEMORY} MiB.\n",
        thousands(due),
        thousands(Backlog::of(due).corrupt),
        TIME_LIMIT.as_secs()
    );
    for sweepers in [1, 2] {
        text += &measure(due, sweepers, &binaries, &scratch)?;
    }
    say(&text);
    if due == DUE {
        fs::write(root.join("tests/bench/results/sweeper.md"), text)?;
    }
    Ok(())
}

/// What is due.
#[derive(Clone, Copy, Debug)]
struct Backlog {
    /// Ready exports whose link has ended.
    ended: u64,
    /// Pending exports that nobody works on.
    idle: u64,
    /// Pending exports whose record cannot be read.
    corrupt: u64,
}

impl Backlog {
    const fn of(due: u64) -> Self {
        let (idle, corrupt) = (due / 10, due / 50);
        Self { ended: due - idle - corrupt, idle, corrupt }
    }
}

/// What sweep-exports responses.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Swept {
    rung: u64,
    failed: u64,
    expired: u64,
    unchanged: u64,
    errors: u64,
}

/// A sweeper that runs.
struct Sweeper {
    process: Process,
    api: RuntimeApi,
}

/// Lets so many sweepers at once sweep until nothing is left, and checks that everything was done, once.
fn measure(due: u64, sweepers: usize, binaries: &Path, scratch: &Path) -> Result<String, Error> {
    let backlog = Backlog::of(due);
    let mut fake = Fake::start(Payouts::new(0, Spread::Even), Conditions::default())?;
    say(&format!("writing {} exports", thousands(due)));
    fake.block_on(seed(&fake.exports_url(), backlog))??;
    let mut running = Vec::new();
    for number in 0..sweepers {
        running.push(start(&fake, &binaries.join("sweep-exports"), &scratch.join(format!("sweeper-{number}.log")))?);
    }
    let title = if sweepers == 1 { "One sweep after another".to_owned() } else { format!("{sweepers} sweeps at once") };
    let mut text = format!(
        "\n## {title}\n\n| sweep | seconds | expired | rung | unchanged | errors |\n|---|---|---|---|---|---|\n"
    );
    let mut all = Swept::default();
    for sweep in 1.. {
        if sweep > MAX_SWEEPS {
            return Err(format!("after {MAX_SWEEPS} sweeps there is still something to do").into());
        }
        let round = sweep_once(&mut running, sweep, &mut text)?;
        all.rung += round.rung;
        all.expired += round.expired;
        all.failed += round.failed;
        if round.rung + round.failed + round.expired == 0 {
            break;
        }
    }
    let mut rings = 0;
    while fake.next_ring().is_some() {
        rings += 1;
    }
    if (all.expired, all.rung, all.failed, rings) != (backlog.ended, backlog.idle, 0, backlog.idle) {
        return Err(format!("{title}: {all:?} and {rings} rings do not fit {backlog:?}").into());
    }
    for Sweeper { process, .. } in running {
        let peak = process.finish()?.peak_kib as f64 / 1024.0;
        writeln!(text, "\nPeak memory {peak:.1} MiB.")?;
        if peak > MAX_MEMORY {
            return Err(format!("{title}: {peak:.1} MiB are more than {MAX_MEMORY}").into());
        }
    }
    writeln!(text, "Every link's end was recorded once, and every idle export rung for once.")?;
    Ok(text)
}

/// One sweep by each, all at once.
fn sweep_once(sweepers: &mut [Sweeper], sweep: usize, text: &mut String) -> Result<Swept, Error> {
    let begun = Instant::now();
    for sweeper in sweepers.iter() {
        sweeper.api.invoke("{}".to_owned(), TIME_LIMIT)?;
    }
    let mut all = Swept::default();
    for Sweeper { process, api } in sweepers.iter_mut() {
        let outcome = process.wait_for(&api.outcomes, TIME_LIMIT)?;
        let outcome = outcome.map_err(|error| process.complaint(&format!("answered with an error: {error}")))?;
        let swept: Swept = serde_json::from_slice(&outcome)?;
        all.rung += swept.rung;
        all.failed += swept.failed;
        all.expired += swept.expired;
        all.unchanged += swept.unchanged;
        all.errors += swept.errors;
    }
    let took = begun.elapsed().as_secs_f64();
    let Swept { rung, expired, unchanged, errors, .. } = all;
    say(&format!("  {took:.1} s: {expired} expired, {rung} rung, {unchanged} unchanged, {errors} errors"));
    writeln!(text, "| {sweep} | {took:.1} | {expired} | {rung} | {unchanged} | {errors} |")?;
    Ok(all)
}

fn start(fake: &Fake, binary: &Path, log: &Path) -> Result<Sweeper, Error> {
    let api = fake.block_on(RuntimeApi::start())??;
    let mut command = Command::new(PathBuf::from(binary));
    command.env_clear().env("AWS_ENDPOINT_URL", fake.url()).env("AWS_REGION", REGION);
    command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
    command.env("AWS_LAMBDA_RUNTIME_API", api.address());
    command.env("AWS_LAMBDA_FUNCTION_NAME", "sweep-exports").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
    command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
    command.env("EXPORTS_TABLE", EXPORTS_TABLE).env("SENDER", "exports@example.com");
    // Nobody responses the queue here: what was rung for is not to be due again before all is over.
    command.env("RE_ENQUEUE_AFTER", "1h");
    command.env("JOBS_QUEUE_URL", format!("{}/123456789012/jobs", fake.url()));
    Ok(Sweeper { process: Process::start("sweep-exports", &mut command, log)?, api })
}

/// Writes the backlog: each export a tenant's of its own, as it would be with so many.
async fn seed(url: &str, backlog: Backlog) -> Result<(), Error> {
    let config = sdk_config(url.to_owned());
    let client = aws_sdk_dynamodb::Client::new(&config);
    let now = LambdaSystem.now();
    let mut ended = new_export("of-which-all-are-copies")?;
    ended.next_check_at = Some(now.minus(Duration::from_secs(60)));
    make_ready(&mut ended);
    let mut idle = new_export("of-which-all-are-copies-too")?;
    idle.next_check_at = Some(now.minus(RE_ENQUEUE_AFTER));
    let exports = ExportsTable::new(&config, EXPORTS_TABLE.to_owned());
    let ended = stored(&exports, &client, &ended).await?;
    let idle = stored(&exports, &client, &idle).await?;
    let mut corrupt = idle.clone();
    corrupt.insert("fencingToken".to_owned(), AttributeValue::S("corrupt".to_owned()));
    let mut requests = Vec::new();
    for number in 0..backlog.ended + backlog.idle + backlog.corrupt {
        let original = match number {
            _ if number < backlog.ended => &ended,
            _ if number < backlog.ended + backlog.idle => &idle,
            _ => &corrupt,
        };
        let put = PutRequest::builder().set_item(Some(copied(original, number)?)).build()?;
        requests.push(WriteRequest::builder().put_request(put).build());
        if requests.len() == 25 || number + 1 == backlog.ended + backlog.idle + backlog.corrupt {
            client.batch_write_item().request_items(EXPORTS_TABLE, std::mem::take(&mut requests)).send().await?;
        }
    }
    Ok(())
}

type Item = HashMap<String, AttributeValue>;

/// The export's record as the table keeps it; nothing of it stays there.
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
    deleted.attributes.ok_or_else(|| "the record is not there".into())
}

/// The record of another tenant's export, alike in all else.
fn copied(original: &Item, number: u64) -> Result<Item, Error> {
    let export = new_export(&format!("tenant-{number}"))?;
    let state = original.get("nextCheckState").and_then(|state| state.as_s().ok()).ok_or("a record without a check")?;
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

/// As it is when its link has ended.
fn make_ready(export: &mut Export) {
    export.status = Status::Ready;
    export.link_expires_at = export.next_check_at;
    export.file = Some(ExportFile {
        key: format!("exports/{}/{}/1.csv", export.tenant, export.id),
        name: "marketplace-payouts.csv".to_owned(),
        rows: 1000,
        bytes: 230_000,
        sha256: "0".repeat(64),
        totals: Totals::default(),
        expires_at: LambdaSystem.now().plus(Duration::from_secs(86_400)),
    });
}

#[expect(clippy::disallowed_macros, reason = "a command talks to the person who runs it")]
fn say(text: &str) {
    eprintln!("{text}");
}
