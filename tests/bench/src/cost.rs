//! Calculates costs at AWS's list prices, and memory sizes, from the measured CPU times.

use std::fmt::Write as _;

use exports_domain::export_type::ExportType;
use serde::Deserialize;

use crate::Error;
use crate::contender::deployed_megabytes;
use crate::fake::{ConsumedUnits, UNITS_PER_SECOND};
use crate::report::{TARGET_COLUMNS, Target, markdown, thousands};
use crate::source_rows::Filter;
use crate::start::Implementation;
use crate::start_report::{StartReport, StartSummary};

/// List prices in dollars, from <https://aws.amazon.com/lambda/pricing/> and the pages of the other services. Without
/// the free tier.
mod price {
    /// The region, and the month in which the prices were looked up.
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

/// Memory at which a function has one full vCPU (Developer Guide, "Configure Lambda function memory").
const MB_PER_VCPU: f64 = 1769.0;
/// The compared memory sizes in MB.
const SIZES: [f64; 5] = [128.0, 256.0, 512.0, 1024.0, MB_PER_VCPU];
/// The CPU time to which that of a start of the [`REFERENCE`](crate::start::REFERENCE) is scaled, and with it those of all
/// functions, so that costs and memory sizes do not depend on the speed of the measuring machine.
const REFERENCE_MS: f64 = 300.0;
/// The CPU time to which that of Python for 1,000,000 rows is scaled, and with it those of all exports.
const PYTHON_EXPORT_SECONDS: f64 = 70.0;
/// Assumed duration of a call to AWS within a region.
const CALL_MS: f64 = 5.0;
/// How much longer a request, or a first request, may take than on a full vCPU.
const SLOWER_MS: f64 = 10.0;
const FIRST_SLOWER_MS: f64 = 50.0;
/// How many times as long as on a full vCPU an export may take.
const EXPORT_SLOWER: f64 = 1.5;
/// The shares of a partition's limit, in percent: the default of the parameter ReadShare, and all of it.
const SHARES: [f64; 2] = [50.0, 100.0];

/// The required fields of `generator.json`.
#[derive(Deserialize)]
struct GeneratorResults {
    results: Vec<ExportResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportResult {
    export_type: String,
    filter: String,
    rows: u64,
    contender: String,
    latency_ms: u64,
    read_share: Option<u64>,
    cpu_seconds: f64,
    runs: Vec<RunResult>,
}

#[derive(Deserialize)]
struct RunResult {
    calls: std::collections::BTreeMap<String, u64>,
    consumed: ConsumedUnits,
}

/// The cost tables as Markdown.
///
/// # Errors
/// If a required result is missing.
pub fn table(report: &StartReport, exports: &str) -> Result<String, Error> {
    let exports: GeneratorResults = serde_json::from_str(exports)?;
    let deployed = deployed_megabytes()?;
    let mut rows = Vec::new();
    for (title, function, services) in [
        // Two items of at most 1 KB with two units each in a transaction, and one unit for NextCheckIndex.
        ("1 M export requests", "create-export", 5.0 * price::DYNAMODB_WRITE + price::SQS_REQUEST),
        // A page of 20 records is at most 16 KB.
        ("1 M list requests", "list-exports", 4.0 * price::DYNAMODB_READ),
    ] {
        let services = 1e6 * (services + price::HTTP_API_REQUEST);
        let ours = BilledInvocation::of_requests(find(report, function, Implementation::Function)?)?;
        let python = BilledInvocation::of_requests(find(report, function, Implementation::Python)?)?;
        rows.push(row(title, &ours, &python, services));
    }
    let export_scale = PYTHON_EXPORT_SECONDS / find_export(&exports, 1_000_000, Filter::Off, "python")?.cpu_seconds;
    let mut targets = Vec::new();
    let largest = 10_000_000;
    for (size, filter) in
        [(10_000, Filter::Off), (1_000_000, Filter::Off), (largest, Filter::Off), (largest, Filter::Month)]
    {
        let ours = find_export(&exports, size, filter, "generator")?;
        // Python is not measured at ten million rows. Its cost is extrapolated.
        let (python, times) = match (size, filter) {
            (10_000_000, Filter::Off) => (find_export(&exports, 1_000_000, filter, "python")?, 10.0),
            _ => (find_export(&exports, size, filter, "python")?, 1.0),
        };
        let consumed = ours.runs.first().ok_or("a result without runs")?.consumed;
        let services = consumed.reads * price::DYNAMODB_READ
            + consumed.writes * price::DYNAMODB_WRITE
            + calls(ours, &["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"])
                * price::S3_PUT
            // The message is received and deleted. The launch sends it.
            + 2.0 * price::SQS_REQUEST
            + price::SES_MAIL;
        for share in SHARES {
            let of = if filter == Filter::Month { "one month of " } else { "" };
            let title = format!("1 export of {of}{} rows, share {share} %", thousands(size));
            let reading = consumed.reads / (UNITS_PER_SECOND * share / 100.0);
            let time = |export: &ExportResult, times: f64, memory: f64| {
                (times * at(memory, export_scale * export.cpu_seconds)).max(reading) + times * waits(export)
            };
            let python = BilledInvocation::of_work(|memory| time(python, times, memory));
            rows.push(row(&title, &BilledInvocation::of_work(|memory| time(ours, 1.0, memory)), &python, services));
            let as_deployed = BilledInvocation { megabytes: deployed, seconds: time(ours, 1.0, deployed) };
            rows.push(row(&format!("{title}, as deployed"), &as_deployed, &python, services));
            if (size, filter, share) == (largest, Filter::Off, 100.0) {
                let measure = format!("Lambda dollars compared with Python, {title}, as deployed");
                let ratio = python.dollars() / as_deployed.dollars();
                targets.push(Target::at_least(measure, ratio, "×", 5.0, Some(10.0)).row());
            }
        }
    }
    let columns =
        ["operation", "Lambda, $", "at MB", "seconds", "Python: Lambda, $", "at MB", "seconds", "other services, $"];
    let mut text = format!(
        "# Costs\n\nCalculated by `cargo bench-start` from its CPU times and those of `cargo bench-generator`, at AWS's list \
         prices ({}). CPU times are scaled to a machine on which Python takes {REFERENCE_MS} ms for create-export's start \
         and first request, and {PYTHON_EXPORT_SECONDS} s for an export of 1,000,000 rows; and by the share of a vCPU that the \
         memory size provides. A request takes its CPU time and {CALL_MS} ms per call. An export takes its CPU time or, if that \
         is longer, the time in which its share of a partition's {UNITS_PER_SECOND} read units per second covers its reads; and \
         {CALL_MS} ms per other call, except for uploaded parts. A partition that DynamoDB has split for heat gives more: not \
         measured. Memory: the smallest of 128, 256, 512, 1,024 and 1,769 MB at which a request takes at most {SLOWER_MS} ms \
         longer than on a full vCPU, a first request at most {FIRST_SLOWER_MS} ms longer, and an export at most {EXPORT_SLOWER} \
         times as long. For exports, this is what CSV alone needs; as deployed, they have the template's {deployed} MB. Python \
         at 10,000,000 rows is ten times its measured 1,000,000 rows. Other services are the same for both: HTTP API, the read \
         and write units of DynamoDB on demand as counted, SQS, S3 requests and SES.\n\n{}\n{}",
        price::OF,
        markdown(&TARGET_COLUMNS, &targets),
        markdown(&columns, &rows)
    );
    text.push_str("\n## Memory\n\nDuration of a warm request / a first request by memory size, in ms.\n\n");
    let mut rows = Vec::new();
    for started in
        report.results.iter().filter(|started| started.is_route && started.implementation == Implementation::Function)
    {
        let warm = started.warm.as_ref().ok_or("no warm requests were measured")?;
        let scale = scale(started)?;
        let mut cells = vec![started.function.to_owned()];
        for size in SIZES {
            let time = |cpu_ms: f64| warm.calls * CALL_MS + at(size, scale * cpu_ms);
            cells.push(format!("{:.1} / {:.1}", time(warm.cpu_ms), time(started.first_cpu_ms)));
        }
        cells.push(format!("{:.0}", BilledInvocation::of_requests(started)?.megabytes));
        rows.push(<[String; 7]>::try_from(cells).map_err(|_| "wrong number of columns")?);
    }
    let columns = ["function", "128 MB", "256 MB", "512 MB", "1,024 MB", "1,769 MB", "chosen"];
    let _ = write!(text, "{}", markdown(&columns, &rows));
    Ok(text)
}

fn row(title: &str, ours: &BilledInvocation, python: &BilledInvocation, services: f64) -> [String; 8] {
    let times = if title.starts_with("1 M ") { 1e6 } else { 1.0 };
    let dollars = |amount: f64| if amount < 0.1 { format!("{amount:.6}") } else { format!("{amount:.2}") };
    let compute = |compute: &BilledInvocation| {
        [dollars(compute.dollars() * times), format!("{:.0}", compute.megabytes), format!("{:.3}", compute.seconds)]
    };
    let ([a, b, c], [d, e, f]) = (compute(ours), compute(python));
    [title.to_owned(), a, b, c, d, e, f, dollars(services)]
}

/// Memory size and duration of an invocation.
struct BilledInvocation {
    megabytes: f64,
    seconds: f64,
}

impl BilledInvocation {
    fn of_requests(started: &StartSummary) -> Result<Self, Error> {
        let warm = started.warm.as_ref().ok_or("no warm requests were measured")?;
        let scale = scale(started)?;
        let (warm_cpu, first_cpu) = (scale * warm.cpu_ms, scale * started.first_cpu_ms);
        let is_quick = |size: &f64| {
            at(*size, warm_cpu) - warm_cpu <= SLOWER_MS && at(*size, first_cpu) - first_cpu <= FIRST_SLOWER_MS
        };
        let megabytes = SIZES.into_iter().find(is_quick).unwrap_or(MB_PER_VCPU);
        Ok(Self { megabytes, seconds: (warm.calls * CALL_MS + at(megabytes, warm_cpu)) / 1000.0 })
    }

    /// The invocation of work with this duration in seconds by memory size in MB.
    fn of_work(time: impl Fn(f64) -> f64) -> Self {
        let is_quick = |size: &f64| time(*size) <= EXPORT_SLOWER * time(MB_PER_VCPU);
        let megabytes = SIZES.into_iter().find(is_quick).unwrap_or(MB_PER_VCPU);
        Self { megabytes, seconds: time(megabytes) }
    }

    fn dollars(&self) -> f64 {
        self.seconds * self.megabytes / 1024.0 * price::LAMBDA_GB_SECOND + price::LAMBDA_REQUEST
    }
}

/// The factor for the measured CPU times of a function.
fn scale(started: &StartSummary) -> Result<f64, Error> {
    Ok(REFERENCE_MS / started.reference_cpu_ms.ok_or("the reference was not measured")?)
}

/// The duration of `cpu` time with this memory size.
fn at(megabytes: f64, cpu: f64) -> f64 {
    cpu * (MB_PER_VCPU / megabytes)
}

/// The seconds that an export waits for AWS while it does not read.
fn waits(export: &ExportResult) -> f64 {
    let all = export.runs.first().map_or(0, |run| run.calls.values().sum::<u64>()) as f64;
    (all - calls(export, &["Query", "UploadPart"])) * CALL_MS / 1000.0
}

fn find<'a>(
    report: &'a StartReport,
    function: &str,
    implementation: Implementation,
) -> Result<&'a StartSummary, Error> {
    let mut all = report.results.iter();
    let found = all.find(|started| started.function == function && started.implementation == implementation);
    found.ok_or_else(|| format!("no result of {function} by {implementation}").into())
}

fn find_export<'a>(
    exports: &'a GeneratorResults,
    rows: u64,
    filter: Filter,
    contender: &str,
) -> Result<&'a ExportResult, Error> {
    let mut all = exports.results.iter();
    let filter = filter.to_string();
    let of = (ExportType::MarketplacePayouts.slug(), &filter, rows, contender, 0, None);
    let found = all.find(|export| {
        let ExportResult { export_type, filter, rows, contender, latency_ms, read_share, .. } = export;
        (&**export_type, filter, *rows, &**contender, *latency_ms, *read_share) == of
    });
    found.ok_or_else(|| format!("no result of {rows} rows by {contender}: run cargo bench-generator").into())
}

fn calls(export: &ExportResult, operations: &[&str]) -> f64 {
    let made = export.runs.first().map(|run| &run.calls);
    let of = |operation: &&str| made.and_then(|made| made.get(*operation)).copied().unwrap_or(0) as f64;
    operations.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::start_report::WarmSummary;

    /// A start and warm requests, measured on a machine that is `slower` times as slow.
    fn started(function: &'static str, implementation: Implementation, cpu_ms: f64, slower: f64) -> StartSummary {
        StartSummary {
            function,
            is_route: true,
            implementation,
            binary_bytes: None,
            init_cpu_ms: slower * cpu_ms,
            first_cpu_ms: slower * cpu_ms,
            start_cpu_ms: slower * 2.0 * cpu_ms,
            start_ratio: 1.0,
            reference_cpu_ms: Some(slower * 300.0),
            first_wall_ms: slower * 3.0 * cpu_ms,
            warm: Some(WarmSummary {
                cpu_ms: slower * cpu_ms / 2.0,
                ratio: 1.0,
                calls: 2.0,
                calls_by_operation: std::collections::BTreeMap::new(),
                resident_mib: 8.0,
                growth_percent: 0.0,
            }),
            starts: 1,
        }
    }

    fn table_of_a_machine(slower: f64) -> Result<String, Error> {
        let results = ["create-export", "list-exports"].into_iter().flat_map(|function| {
            [(Implementation::Function, 1.5), (Implementation::Python, 150.0)]
                .map(|(implementation, cpu_ms)| started(function, implementation, cpu_ms, slower))
        });
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/generator.json");
        let mut exports: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        for export in exports["results"].as_array_mut().ok_or("no results")? {
            let seconds = export["cpuSeconds"].as_f64().ok_or("no CPU time")?;
            export["cpuSeconds"] = (slower * seconds).into();
        }
        table(&StartReport::new(results.collect(), String::new()), &exports.to_string())
    }

    #[test]
    fn slower_machine_gives_the_same_costs_and_memory_sizes() -> Result<(), Error> {
        let table = table_of_a_machine(1.0)?;
        assert!(table.contains("| create-export | 20.4 / 30.7 | "), "{table}");
        assert_eq!(table, table_of_a_machine(2.0)?);
        Ok(())
    }
}
