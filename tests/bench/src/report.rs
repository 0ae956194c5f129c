//! Medians, ratios and targets, as text, JSON and Markdown.

use std::fmt::Write as _;
use std::fs;

use exports_aws::system::LambdaSystem;
use exports_domain::ports::System as _;
use serde::Serialize;

use crate::comparison::{self, Comparison, comparisons};
use crate::contender::{Contender, Sample};
use crate::fake::UNITS_PER_SECOND;
use crate::line_of_inputs;
use crate::plan::Scenario;
use crate::source_rows::{Expected, Filter};
use exports_domain::export_type::ExportType;

/// The results of the generator benchmark.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the benchmark ended.
    pub made_at: String,
    /// The digest of what it depends on.
    pub inputs: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// The results, in the order of the plan.
    pub results: Vec<ContenderSummary>,
    /// The targets that this run can check.
    pub targets: Vec<Target>,
    /// The comparisons with the baseline.
    pub comparisons: Vec<Comparison>,
}

/// The machine of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Number of hardware threads.
    pub threads: usize,
    /// The kernel's version.
    pub kernel: String,
}

/// The summary of all runs of one contender in one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContenderSummary {
    /// The scenario.
    #[serde(flatten)]
    pub scenario: Scenario,
    /// The contender.
    pub contender: Contender,
    /// Number of rows in the file.
    pub file_rows: u64,
    /// Size of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file, which is the same for all contenders.
    pub file_sha256: String,
    /// Median of the runs.
    pub wall_seconds: f64,
    /// Median of the runs.
    pub cpu_seconds: f64,
    /// Rows read divided by the median CPU time.
    pub rows_per_cpu_second: f64,
    /// Median of the runs.
    pub peak_mib: f64,
    /// All runs.
    pub runs: Vec<Sample>,
}

/// A measure with a target.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name of the measure.
    pub measure: String,
    /// The measured value.
    pub value: f64,
    /// The unit: `×`, `MiB`, `ms`, `%` or none.
    pub unit: &'static str,
    /// The least or greatest acceptable value.
    pub target: f64,
    /// A more ambitious value, if there is one.
    pub goal: Option<f64>,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Whether the target is met.
    pub is_met: bool,
}

fn float(number: u64) -> f64 {
    number as f64
}

pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
    if numbers.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

impl ContenderSummary {
    /// Summarizes `runs`, which all wrote `file`.
    #[must_use]
    pub fn new(scenario: &Scenario, contender: Contender, file: &Expected, runs: Vec<Sample>) -> Self {
        let cpu_seconds = median(runs.iter().map(|run| run.cpu_seconds));
        Self {
            scenario: scenario.clone(),
            contender,
            file_rows: file.rows,
            file_bytes: file.bytes,
            file_sha256: file.sha256.clone(),
            wall_seconds: median(runs.iter().map(|run| run.wall_seconds)),
            cpu_seconds,
            rows_per_cpu_second: float(file.rows_read) / cpu_seconds,
            peak_mib: median(runs.iter().map(|run| float(run.peak_kib) / 1024.0)),
            runs,
        }
    }

    /// The read units per second, in percent of a partition's limit: the median of the runs.
    fn share_of_limit(&self) -> f64 {
        median(self.runs.iter().map(|run| run.consumed.reads / run.wall_seconds / UNITS_PER_SECOND * 100.0))
    }

    fn row(&self) -> [String; 9] {
        let calls = self.runs.first().map(|run| &run.calls);
        let calls_of = |name: &str| calls.and_then(|calls| calls.get(name)).copied().unwrap_or(0);
        let all: u64 = calls.map(|calls| calls.values().sum()).unwrap_or(0);
        let throttled = match calls_of("Query (throttled)") {
            0 => String::new(),
            throttled => format!(", {throttled} throttled"),
        };
        let invocations = match self.runs.first().map_or(1, |run| run.invocations) {
            1 => String::new(),
            several => format!(" in {several} invocations"),
        };
        [
            thousands(self.scenario.rows),
            self.contender.title().to_owned(),
            thousands(self.file_bytes),
            format!("{:.2}", self.wall_seconds),
            format!("{:.3}", self.cpu_seconds),
            thousands(rounded(self.rows_per_cpu_second)),
            format!("{:.1}", self.peak_mib),
            format!("{all} ({} Query{throttled}){invocations}", calls_of("Query")),
            self.runs.len().to_string(),
        ]
    }
}

const COLUMNS: [&str; 9] =
    ["rows", "contender", "bytes", "wall s", "CPU s", "rows / CPU s", "peak MiB", "AWS calls", "runs"];

impl Target {
    pub(crate) fn at_least(measure: String, value: f64, unit: &'static str, target: f64, goal: Option<f64>) -> Self {
        Self { measure, value, unit, target, goal, more_is_better: true, is_met: value >= target }
    }

    pub(crate) fn at_most(measure: String, value: f64, unit: &'static str, target: f64, goal: Option<f64>) -> Self {
        Self { measure, value, unit, target, goal, more_is_better: false, is_met: value <= target }
    }

    pub(crate) fn row(&self) -> [String; 5] {
        let (sign, unit) = (if self.more_is_better { "≥" } else { "≤" }, self.unit);
        let goal = self.goal.map(|goal| format!("{sign} {goal} {unit}")).unwrap_or_default();
        let verdict = if self.is_met { "met" } else { "MISSED" };
        let value = format!("{:.1} {unit}", self.value);
        [self.measure.clone(), value, format!("{sign} {} {unit}", self.target), goal, verdict.to_owned()]
    }
}

const TYPE_COLUMNS: [&str; 7] =
    ["export type", "filter", "rows", "in the file", "rows / CPU s", "to plain Rust", "to Python"];

pub(crate) const TARGET_COLUMNS: [&str; 5] = ["measure", "value", "target", "goal", ""];

impl Report {
    /// A report of `results` as of now.
    #[must_use]
    pub fn new(results: Vec<ContenderSummary>, inputs: String) -> Self {
        let (targets, comparisons) = (targets(&results), comparisons(&results));
        Self {
            made_at: LambdaSystem.now().to_string(),
            inputs,
            machine: Machine::this(),
            results,
            targets,
            comparisons,
        }
    }

    /// The report for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (title, rows) in self.tables() {
            let _ = writeln!(text, "\n{title}\n{}", aligned(&COLUMNS, &rows));
        }
        let types = self.export_types();
        if !types.is_empty() {
            let _ = writeln!(text, "\n{}", aligned(&TYPE_COLUMNS, &types));
        }
        if !self.targets.is_empty() {
            let rows: Vec<_> = self.targets.iter().map(Target::row).collect();
            let _ = writeln!(text, "\n{}", aligned(&TARGET_COLUMNS, &rows));
        }
        if !self.comparisons.is_empty() {
            let rows: Vec<_> = self.comparisons.iter().map(Comparison::row).collect();
            let _ = writeln!(text, "\n{}", aligned(&comparison::COLUMNS, &rows));
        }
        text
    }

    /// The report as a Markdown file.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let Machine { processor, threads, kernel } = &self.machine;
        let day = self.made_at.get(..10).unwrap_or_default();
        let mut text = format!(
            "# generate-export compared with its peers\n\n\
             Measured by `cargo bench-generator` on {day}: {processor}, {threads} threads, Linux {kernel}, with a fake AWS \
             on loopback. Values are medians. In each table, all contenders wrote the same file, byte for byte.\n\n{}",
            line_of_inputs(&self.inputs)
        );
        if !self.targets.is_empty() {
            let rows: Vec<_> = self.targets.iter().map(Target::row).collect();
            let _ = write!(text, "\n## Targets\n\n{}", markdown(&TARGET_COLUMNS, &rows));
        }
        if !self.comparisons.is_empty() {
            let rows: Vec<_> = self.comparisons.iter().map(Comparison::row).collect();
            let _ = write!(
                text,
                "\n## Compared with the baseline\n\nRatios of paired runs, generate-export to the baseline: geometric \
                 means, and t intervals of the logarithms.\n\n{}",
                markdown(&comparison::COLUMNS, &rows)
            );
        }
        let types = self.export_types();
        if !types.is_empty() {
            let _ = write!(
                text,
                "\n## Export types\n\nRows per CPU second are rows read: all of them, or those of the month.\n\n{}",
                markdown(&TYPE_COLUMNS, &types)
            );
        }
        for (title, rows) in self.tables() {
            let _ = write!(text, "\n## {title}\n\n{}", markdown(&COLUMNS, &rows));
        }
        text
    }

    /// Rows per CPU second by export type and filter, in the scenarios in which the peers ran.
    fn export_types(&self) -> Vec<[String; 7]> {
        let mut rows = Vec::new();
        for ours in self.results.iter().filter(|ours| ours.scenario.is_cpu_bound()) {
            let speed_of = |contender: Contender| {
                let mut all = self.results.iter();
                let found = all.find(|other| other.contender == contender && other.scenario == ours.scenario);
                found.map(|other| ours.rows_per_cpu_second / other.rows_per_cpu_second)
            };
            let (Contender::Generator, Some(plain), Some(python)) =
                (ours.contender, speed_of(Contender::Plain), speed_of(Contender::Python))
            else {
                continue;
            };
            rows.push([
                ours.scenario.export_type.definition().title.to_owned(),
                ours.scenario.filter.to_string(),
                thousands(ours.scenario.rows),
                thousands(ours.file_rows),
                thousands(rounded(ours.rows_per_cpu_second)),
                format!("{plain:.1} ×"),
                format!("{python:.1} ×"),
            ]);
        }
        rows
    }

    /// The results grouped by conditions.
    fn tables(&self) -> Vec<(String, Vec<[String; 9]>)> {
        let mut tables: Vec<(String, Vec<[String; 9]>)> = Vec::new();
        for measured in &self.results {
            let title = measured.scenario.title();
            match tables.iter_mut().find(|(known, _)| *known == title) {
                Some((_, rows)) => rows.push(measured.row()),
                None => tables.push((title, vec![measured.row()])),
            }
        }
        tables
    }
}

fn targets(results: &[ContenderSummary]) -> Vec<Target> {
    let find = |contender: Contender, is_it: &dyn Fn(&Scenario) -> bool| {
        let mut all = results.iter().filter(|measured| measured.scenario.is_of_main_type());
        all.rfind(|measured| measured.contender == contender && is_it(&measured.scenario))
    };
    let mut targets = Vec::new();
    // CPU times are compared at the largest size at which all contenders run.
    let main = [Contender::Python, Contender::Plain, Contender::Generator]
        .into_iter()
        .find_map(|contender| find(contender, &Scenario::is_cpu_bound))
        .map_or(0, |measured| measured.scenario.rows);
    let costs = |scenario: &Scenario| scenario.is_cpu_bound() && scenario.rows == main;
    if let Some(ours) = find(Contender::Generator, &costs) {
        let at = thousands(main);
        if let Some(plain) = find(Contender::Plain, &costs) {
            let ratio = ours.rows_per_cpu_second / plain.rows_per_cpu_second;
            targets.push(Target::at_least(
                format!("rows per CPU second compared with plain Rust, {at} rows"),
                ratio,
                "×",
                10.0,
                Some(12.0),
            ));
        }
        if let Some(python) = find(Contender::Python, &costs) {
            let ratio = ours.rows_per_cpu_second / python.rows_per_cpu_second;
            targets.push(Target::at_least(
                format!("rows per CPU second compared with Python, {at} rows"),
                ratio,
                "×",
                60.0,
                Some(75.0),
            ));
        }
    }
    // The other types.
    let is_compared = |measured: &&ContenderSummary| {
        let Scenario { export_type, filter, rows, .. } = measured.scenario;
        let is_other = export_type != ExportType::MarketplacePayouts;
        is_other && filter == Filter::Off && rows == main && measured.scenario.is_cpu_bound()
    };
    for ours in results.iter().filter(is_compared).filter(|measured| measured.contender == Contender::Generator) {
        let mut all = results.iter();
        let plain = all.find(|other| other.contender == Contender::Plain && other.scenario == ours.scenario);
        if let Some(plain) = plain {
            let title = ours.scenario.export_type.definition().title;
            let measure = format!("{title}: rows per CPU second compared with plain Rust, {} rows", thousands(main));
            let ratio = ours.rows_per_cpu_second / plain.rows_per_cpu_second;
            targets.push(Target::at_least(measure, ratio, "×", 8.0, Some(10.0)));
        }
    }
    for ours in results.iter().filter(|measured| measured.contender == Contender::Generator) {
        let rows = ours.scenario.rows;
        // At smaller sizes, process start dominates, and the floor has nearly none.
        let costs = |scenario: &Scenario| {
            scenario.is_of_main_type() && scenario.is_cpu_bound() && scenario.rows == rows && rows >= 1_000_000
        };
        if let Some(floor) = find(Contender::Floor, &costs).filter(|_| costs(&ours.scenario)) {
            let ratio = ours.cpu_seconds / floor.cpu_seconds;
            let measure = format!("CPU compared with the floor, {} rows", thousands(rows));
            targets.push(Target::at_most(measure, ratio, "×", 3.3, Some(2.5)));
        }
    }
    let at_full_share = |scenario: &Scenario| scenario.read_share == Some(100);
    if let Some(ours) = find(Contender::Generator, &at_full_share) {
        let measure = format!("share of a partition's limit used at 100 %, {} rows", thousands(ours.scenario.rows));
        targets.push(Target::at_least(measure, ours.share_of_limit(), "%", 90.0, Some(95.0)));
    }
    let of = |rows: u64| find(Contender::Generator, &move |scenario| scenario.is_cpu_bound() && scenario.rows == rows);
    if let (Some(hundred_thousand), Some(million), Some(ten_million)) = (of(100_000), of(1_000_000), of(10_000_000)) {
        targets.push(Target::at_most(
            "peak memory at 10 M rows".to_owned(),
            ten_million.peak_mib,
            "MiB",
            52.0,
            Some(40.0),
        ));
        let more = (ten_million.peak_mib / million.peak_mib - 1.0) * 100.0;
        targets.push(Target::at_most("growth of peak memory, 1 M to 10 M rows".to_owned(), more, "%", 6.0, None));
        let growth = (hundred_thousand.rows_per_cpu_second / ten_million.rows_per_cpu_second - 1.0) * 100.0;
        targets.push(Target::at_most(
            "growth of CPU time per row, 100 k to 10 M rows".to_owned(),
            growth,
            "%",
            10.0,
            None,
        ));
    }
    targets
}

impl Machine {
    pub(crate) fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        // Without the distribution's suffix.
        let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { processor: processor.map_or("unknown", |(_, name)| name).to_owned(), threads, kernel }
    }
}

pub(crate) fn rounded(number: f64) -> u64 {
    number.round() as u64
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn aligned<const N: usize>(columns: &[&str; N], rows: &[[String; N]]) -> String {
    let heads = columns.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            let cells = std::iter::once(&heads).chain(rows).filter_map(|row| row.get(index));
            let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            let _ = write!(line, "{cell:>width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

pub(crate) fn markdown<const N: usize>(columns: &[&str; N], rows: &[[String; N]]) -> String {
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(N));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fake::ConsumedUnits;
    use crate::source_rows::{Filter, Spread};
    use exports_domain::export_type::ExportType;
    use std::collections::BTreeMap;

    pub(crate) fn measured(contender: Contender, rows: u64, latency_ms: u64, seconds: &[f64]) -> ContenderSummary {
        let scenario = Scenario {
            export_type: ExportType::MarketplacePayouts,
            filter: Filter::Off,
            rows,
            spread: Spread::Even,
            latency_ms,
            read_share: None,
            time_limit_seconds: 3 * 3600,
            runs: Vec::new(),
        };
        let sample = |seconds: &f64| Sample {
            wall_seconds: *seconds,
            cpu_seconds: *seconds,
            peak_kib: 30 * 1024,
            invocations: 1,
            consumed: ConsumedUnits { reads: 2800.0 * seconds, writes: 9.0 },
            calls: BTreeMap::from([("Query".to_owned(), 5), ("GetItem".to_owned(), 1)]),
        };
        let file = Expected { rows_read: rows, ..Expected::default() };
        ContenderSummary::new(&scenario, contender, &file, seconds.iter().map(sample).collect())
    }

    #[test]
    fn targets_compare_medians_at_the_same_size() {
        // Not CPU-bound, so it must not be compared.
        let mut chain = measured(Contender::Generator, 5_000_000, 20, &[300.0]);
        chain.scenario.time_limit_seconds = 1;
        let mut limited = measured(Contender::Generator, 1_000_000, 0, &[40.0]);
        limited.scenario.read_share = Some(100);
        // With a filter, so the targets must not include it.
        let mut filtered = measured(Contender::Generator, 1_000_000, 0, &[0.1]);
        filtered.scenario.filter = Filter::Values;
        let results = vec![
            measured(Contender::Generator, 100_000, 0, &[9.0, 1.0, 2.0]),
            measured(Contender::Floor, 1_000_000, 0, &[5.0]),
            measured(Contender::Plain, 100_000, 0, &[12.0]),
            measured(Contender::Python, 100_000, 0, &[60.0, 80.0]),
            measured(Contender::Generator, 1_000_000, 0, &[20.0]),
            measured(Contender::Generator, 10_000_000, 0, &[240.0]),
            limited,
            chain,
            filtered,
        ];
        let report = Report::new(results, "0123456789abcdef".to_owned());
        assert!(report.to_markdown().contains("\nInputs: `0123456789abcdef` "));
        let targets: Vec<_> = report.targets.iter().map(|target| (target.value, target.is_met)).collect();
        let expected = [(6.0, false), (35.0, false), (4.0, false), (2800.0 / 30.0, true), (30.0, true), (0.0, true)];
        assert!(targets.iter().zip(expected).all(|(is, of)| (is.0 - of.0).abs() < 1e-9 && is.1 == of.1), "{targets:?}");
        assert!((targets[6].0 - 20.0).abs() < 1e-9 && !targets[6].1, "{:?}", targets[6]);
        let text = report.to_text();
        assert!(text.contains("100,000  generate-export") && text.contains("6 (5 Query)"), "{text}");
        let types = report.export_types();
        assert!(types.len() == 1 && types[0][4..] == ["50,000", "6.0 ×", "35.0 ×"], "{types:?}");
    }

    #[test]
    fn thousands_are_separated_by_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
