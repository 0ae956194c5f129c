//! What the measured figures are in dollars, at AWS's list prices, and which memory size follows from them.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::Error;
use crate::report::markdown;
use crate::start::Who;
use crate::start_report::{StartReport, Started};

/// List prices in dollars for us-east-1, as AWS's pricing pages have them. <https://aws.amazon.com/lambda/pricing/> and
/// those of the other services; the free tier is left out.
mod price {
    /// Where and when: the year and month in which they were looked up.
    pub(super) const OF: &str = "us-east-1, November 2026";
    pub(super) const LAMBDA_GB_SECOND: f64 = 0.000_016_666_7;
    pub(super) const LAMBDA_REQUEST: f64 = 0.2e-6;
    pub(super) const HTTP_API_REQUEST: f64 = 1.0e-6;
    pub(super) const DYNAMODB_READ: f64 = 0.125e-6;
    pub(super) const DYNAMODB_WRITE: f64 = 0.625e-6;
    pub(super) const SQS_REQUEST: f64 = 0.4e-6;
    pub(super) const S3_PUT: f64 = 5.0e-6;
    pub(super) const SES_MAIL: f64 = 0.1e-3;
}

/// A function has this many MB for each processor that it has.
const MB_A_PROCESSOR: f64 = 1769.0;
/// The sizes that are looked at.
const SIZES: [f64; 5] = [128.0, 256.0, 512.0, 1024.0, MB_A_PROCESSOR];
/// How long a call to AWS takes within a region.
const CALL_MS: f64 = 5.0;
/// A request may take so much longer than on a whole processor, and a first one so much.
const SLOWER_MS: f64 = 10.0;
const FIRST_SLOWER_MS: f64 = 50.0;
/// An export may take so many times as long as on a whole processor.
const EXPORT_SLOWER: f64 = 1.5;
/// How long a page of payouts takes, and how many the generator reads at once.
const PAGE_MS: f64 = 20.0;
const READERS: f64 = 4.0;
/// What DynamoDB bills a strongly consistent read by, and how much a page of payouts is.
const READ_UNIT_BYTES: f64 = 4096.0;
const PAGE_BYTES: f64 = 1_048_576.0;

/// The part of `generator.json` that is needed.
#[derive(Deserialize)]
struct Exports {
    results: Vec<Export>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    rows: u64,
    contender: String,
    latency_ms: u64,
    cpu_seconds: f64,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    calls: std::collections::BTreeMap<String, u64>,
}

/// The table, as Markdown.
///
/// # Errors
/// If a result that it is made from is missing.
pub fn table(report: &StartReport, exports: &str) -> Result<String, Error> {
    let exports: Exports = serde_json::from_str(exports)?;
    let mut rows = Vec::new();
    for (title, function, services) in [
        // Two items in a transaction are two units each, the index of what is due is one more.
        ("1 M triggers", "create-export", 5.0 * price::DYNAMODB_WRITE + price::SQS_REQUEST),
        // A page of 20 records is 16 KB at most.
        ("1 M calls for the list", "list-exports", 4.0 * price::DYNAMODB_READ),
    ] {
        let services = 1e6 * (services + price::HTTP_API_REQUEST);
        let ours = Compute::of_requests(find(report, function, Who::Function)?)?;
        let python = Compute::of_requests(find(report, function, Who::Python)?)?;
        rows.push(row(title, &ours, &python, services));
    }
    for size in [10_000, 1_000_000, 10_000_000] {
        let ours = find_export(&exports, size, "generator")?;
        // Python was not made to wait for ten million: its cost is in proportion.
        let (python, times) = find_export(&exports, size, "python").map_or_else(
            |_| find_export(&exports, 1_000_000, "python").map(|export| (export, size as f64 / 1e6)),
            |export| Ok((export, 1.0)),
        )?;
        let services = calls(ours, &["Query"]) * PAGE_BYTES / READ_UNIT_BYTES * price::DYNAMODB_READ
            + 2.0 * calls(ours, &["UpdateItem", "TransactWriteItems"]) * price::DYNAMODB_WRITE
            + calls(ours, &["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"])
                * price::S3_PUT
            + price::SES_MAIL;
        let title = format!("1 export of {} rows", crate::report::thousands(size));
        let ours = Compute::of_work(|memory| at(memory, ours.cpu_seconds) + waits(ours, READERS));
        let python = Compute::of_work(|memory| times * (at(memory, python.cpu_seconds) + waits(python, 1.0)));
        rows.push(row(&title, &ours, &python, services));
    }
    let columns = [
        "what",
        "Lambda, $",
        "at MB",
        "seconds each",
        "Python: Lambda, $",
        "at MB",
        "seconds each",
        "other services, $",
    ];
    let mut text = format!(
        "# What it costs\n\nMade by `cargo bench-start` from its CPU times and those of `cargo bench-generator`, at AWS's \
         list prices ({}). A function's time is its waits, {CALL_MS} ms for each call and {PAGE_MS} ms for each page of \
         payouts, {READERS} of which the generator reads at once, none for the parts of a file, which go up meanwhile; and \
         its CPU time at the share of a processor that its memory brings. Memory: the smallest of 128, 256, \
         512, 1,024 and 1,769 MB at which a request takes at most {SLOWER_MS} ms longer than with a whole processor and a \
         first one {FIRST_SLOWER_MS} ms, an export at most {EXPORT_SLOWER} times as long; all that and no more is what is \
         billed. Other services: HTTP API, DynamoDB on demand, SQS, S3's requests and the mail; the same for both.\n\n{}",
        price::OF,
        markdown(&columns, &rows)
    );
    text.push_str("\n## Memory\n\nA further request's and a first request's time by memory, in ms.\n\n");
    let mut rows = Vec::new();
    for started in report.results.iter().filter(|started| started.is_route && started.who == Who::Function) {
        let warm = started.warm.as_ref().ok_or("no further requests")?;
        let mut cells = vec![started.function.to_owned()];
        for size in SIZES {
            let time = |cpu_ms: f64, calls: f64| calls * CALL_MS + at(size, cpu_ms);
            cells.push(format!("{:.1} / {:.1}", time(warm.cpu_ms, warm.calls), time(started.first_cpu_ms, warm.calls)));
        }
        cells.push(format!("{:.0}", Compute::of_requests(started)?.megabytes));
        rows.push(<[String; 7]>::try_from(cells).map_err(|_| "a row of another length")?);
    }
    let columns = ["function", "128 MB", "256 MB", "512 MB", "1,024 MB", "1,769 MB", "chosen"];
    let _ = write!(text, "{}", markdown(&columns, &rows));
    Ok(text)
}

fn row(title: &str, ours: &Compute, python: &Compute, services: f64) -> [String; 8] {
    let times = if title.starts_with("1 M ") { 1e6 } else { 1.0 };
    let dollars = |amount: f64| if amount < 0.1 { format!("{amount:.6}") } else { format!("{amount:.2}") };
    let compute = |compute: &Compute| {
        [dollars(compute.dollars() * times), format!("{:.0}", compute.megabytes), format!("{:.3}", compute.seconds)]
    };
    let ([a, b, c], [d, e, f]) = (compute(ours), compute(python));
    [title.to_owned(), a, b, c, d, e, f, dollars(services)]
}

/// One invocation as it is billed.
struct Compute {
    megabytes: f64,
    seconds: f64,
}

impl Compute {
    fn of_requests(started: &Started) -> Result<Self, Error> {
        let warm = started.warm.as_ref().ok_or("no further requests were measured")?;
        let is_quick = |size: &f64| {
            at(*size, warm.cpu_ms) - warm.cpu_ms <= SLOWER_MS
                && at(*size, started.first_cpu_ms) - started.first_cpu_ms <= FIRST_SLOWER_MS
        };
        let megabytes = SIZES.into_iter().find(is_quick).unwrap_or(MB_A_PROCESSOR);
        Ok(Self { megabytes, seconds: (warm.calls * CALL_MS + at(megabytes, warm.cpu_ms)) / 1000.0 })
    }

    /// Work that takes so many seconds with so much memory.
    fn of_work(time: impl Fn(f64) -> f64) -> Self {
        let is_quick = |size: &f64| time(*size) <= EXPORT_SLOWER * time(MB_A_PROCESSOR);
        let megabytes = SIZES.into_iter().find(is_quick).unwrap_or(MB_A_PROCESSOR);
        Self { megabytes, seconds: time(megabytes) }
    }

    fn dollars(&self) -> f64 {
        self.seconds * self.megabytes / 1024.0 * price::LAMBDA_GB_SECOND + price::LAMBDA_REQUEST
    }
}

/// How long work of so much CPU time takes with so much memory.
fn at(megabytes: f64, cpu: f64) -> f64 {
    cpu * (MB_A_PROCESSOR / megabytes)
}

/// How many seconds an export waits for AWS, if so many pages are read at once.
fn waits(export: &Export, readers: f64) -> f64 {
    let pages = calls(export, &["Query"]);
    let all = export.runs.first().map_or(0, |run| run.calls.values().sum::<u64>()) as f64;
    let others = all - pages - calls(export, &["UploadPart"]);
    (pages * PAGE_MS / readers + others * CALL_MS) / 1000.0
}

fn find<'a>(report: &'a StartReport, function: &str, who: Who) -> Result<&'a Started, Error> {
    let mut all = report.results.iter();
    let found = all.find(|started| started.function == function && started.who == who);
    found.ok_or_else(|| format!("no result of {function} by {who}").into())
}

fn find_export<'a>(exports: &'a Exports, rows: u64, contender: &str) -> Result<&'a Export, Error> {
    let mut all = exports.results.iter();
    let found = all.find(|export| export.rows == rows && export.contender == contender && export.latency_ms == 0);
    found.ok_or_else(|| format!("no result of {rows} rows by {contender}: run cargo bench-generator").into())
}

fn calls(export: &Export, operations: &[&str]) -> f64 {
    let made = export.runs.first().map(|run| &run.calls);
    let of = |operation: &&str| made.and_then(|made| made.get(*operation)).copied().unwrap_or(0) as f64;
    operations.iter().map(of).sum()
}
