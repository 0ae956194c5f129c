//! Medians, ratios and bars, as text, JSON and Markdown.

use std::fmt::Write as _;
use std::fs;

use exports_aws::system::LambdaSystem;
use exports_domain::ports::System as _;
use serde::Serialize;

use crate::contender::{Contender, Sample};
use crate::plan::Scenario;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When it was made.
    pub made_at: String,
    /// Where.
    pub machine: Machine,
    /// The results, in the order of the plan.
    pub results: Vec<Measured>,
    /// What had to be shown, as far as this run can tell.
    pub bars: Vec<Bar>,
}

/// What it was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of its threads there are.
    pub threads: usize,
    /// The kernel's version.
    pub kernel: String,
}

/// All runs of one contender in one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// What it ran on.
    #[serde(flatten)]
    pub scenario: Scenario,
    /// Who ran.
    pub contender: Contender,
    /// The size of the file.
    pub file_bytes: u64,
    /// Its SHA-256: the same for all contenders, or there would be no results.
    pub file_sha256: String,
    /// Median of the runs.
    pub wall_seconds: f64,
    /// Median of the runs.
    pub cpu_seconds: f64,
    /// Rows by the median CPU time.
    pub rows_per_cpu_second: f64,
    /// Median of the runs.
    pub peak_mib: f64,
    /// Each run by itself.
    pub runs: Vec<Sample>,
}

/// Something that had to be shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bar {
    /// What was compared.
    pub measure: String,
    /// What came out.
    pub value: f64,
    /// What it is a number of: `×`, `MiB` or `%`.
    pub unit: &'static str,
    /// What it had to be: at least or at most.
    pub bar: f64,
    /// What was hoped for, if that was more than the bar.
    pub hope: Option<f64>,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Whether the bar is met.
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

impl Measured {
    /// The runs of `contender` in `scenario`, all of which made the file of this size and hash.
    #[must_use]
    pub fn new(scenario: &Scenario, contender: Contender, file: (u64, &str), runs: Vec<Sample>) -> Self {
        let cpu_seconds = median(runs.iter().map(|run| run.cpu_seconds));
        Self {
            scenario: scenario.clone(),
            contender,
            file_bytes: file.0,
            file_sha256: file.1.to_owned(),
            wall_seconds: median(runs.iter().map(|run| run.wall_seconds)),
            cpu_seconds,
            rows_per_cpu_second: float(scenario.rows) / cpu_seconds,
            peak_mib: median(runs.iter().map(|run| float(run.peak_kib) / 1024.0)),
            runs,
        }
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

const COLUMNS: [&str; 9] = ["rows", "who", "bytes", "wall s", "CPU s", "rows / CPU s", "peak MiB", "AWS calls", "runs"];

impl Bar {
    pub(crate) fn at_least(measure: String, value: f64, unit: &'static str, bar: f64, hope: Option<f64>) -> Self {
        Self { measure, value, unit, bar, hope, more_is_better: true, is_met: value >= bar }
    }

    pub(crate) fn at_most(measure: String, value: f64, unit: &'static str, bar: f64, hope: Option<f64>) -> Self {
        Self { measure, value, unit, bar, hope, more_is_better: false, is_met: value <= bar }
    }

    pub(crate) fn row(&self) -> [String; 5] {
        let (sign, unit) = (if self.more_is_better { "≥" } else { "≤" }, self.unit);
        let hope = self.hope.map(|hope| format!("{sign} {hope} {unit}")).unwrap_or_default();
        let verdict = if self.is_met { "met" } else { "MISSED" };
        let value = format!("{:.1} {unit}", self.value);
        [self.measure.clone(), value, format!("{sign} {} {unit}", self.bar), hope, verdict.to_owned()]
    }
}

pub(crate) const BAR_COLUMNS: [&str; 5] = ["measure", "value", "bar", "hope", ""];

impl Report {
    /// The results and what they show.
    #[must_use]
    pub fn new(results: Vec<Measured>) -> Self {
        let bars = bars(&results);
        Self { made_at: LambdaSystem.now().to_string(), machine: Machine::this(), results, bars }
    }

    /// For a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (title, rows) in self.tables() {
            let _ = writeln!(text, "\n{title}\n{}", aligned(&COLUMNS, &rows));
        }
        if !self.bars.is_empty() {
            let rows: Vec<_> = self.bars.iter().map(Bar::row).collect();
            let _ = writeln!(text, "\n{}", aligned(&BAR_COLUMNS, &rows));
        }
        text
    }

    /// For people who read the repository.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let Machine { processor, threads, kernel } = &self.machine;
        let day = self.made_at.get(..10).unwrap_or_default();
        let mut text = format!(
            "# generate-export against its peers\n\n\
             Made by `cargo bench-generator` on {day}: {processor}, {threads} threads, Linux {kernel}, AWS played on \
             loopback. Medians; in each table all wrote the same file, byte for byte.\n"
        );
        if !self.bars.is_empty() {
            let rows: Vec<_> = self.bars.iter().map(Bar::row).collect();
            let _ = write!(text, "\n## What it has to show\n\n{}", markdown(&BAR_COLUMNS, &rows));
        }
        for (title, rows) in self.tables() {
            let _ = write!(text, "\n## {title}\n\n{}", markdown(&COLUMNS, &rows));
        }
        text
    }

    /// The results, those of the same conditions together.
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

fn bars(results: &[Measured]) -> Vec<Bar> {
    let find = |contender: Contender, is_it: &dyn Fn(&Scenario) -> bool| {
        results.iter().rfind(|measured| measured.contender == contender && is_it(&measured.scenario))
    };
    let mut bars = Vec::new();
    // Costs are compared where everybody runs, at the largest such size.
    let main = [Contender::Python, Contender::Plain, Contender::Generator]
        .into_iter()
        .find_map(|contender| find(contender, &Scenario::shows_cost))
        .map_or(0, |measured| measured.scenario.rows);
    let costs = |scenario: &Scenario| scenario.shows_cost() && scenario.rows == main;
    if let Some(ours) = find(Contender::Generator, &costs) {
        let at = thousands(main);
        if let Some(plain) = find(Contender::Plain, &costs) {
            let ratio = ours.rows_per_cpu_second / plain.rows_per_cpu_second;
            bars.push(Bar::at_least(
                format!("rows per CPU second against plain Rust, {at} rows"),
                ratio,
                "×",
                5.0,
                Some(8.0),
            ));
        }
        if let Some(python) = find(Contender::Python, &costs) {
            let ratio = ours.rows_per_cpu_second / python.rows_per_cpu_second;
            bars.push(Bar::at_least(
                format!("rows per CPU second against Python, {at} rows"),
                ratio,
                "×",
                40.0,
                Some(60.0),
            ));
        }
    }
    for ours in results.iter().filter(|measured| measured.contender == Contender::Generator) {
        let rows = ours.scenario.rows;
        // Below that, the start of the process is most of it, of which the floor has next to none.
        let costs = |scenario: &Scenario| scenario.shows_cost() && scenario.rows == rows && rows >= 100_000;
        if let Some(floor) = find(Contender::Floor, &costs).filter(|_| costs(&ours.scenario)) {
            let ratio = ours.cpu_seconds / floor.cpu_seconds;
            let measure = format!("CPU against the floor, {} rows", thousands(rows));
            bars.push(Bar::at_most(measure, ratio, "×", 5.0, Some(3.5)));
        }
    }
    let slow = |scenario: &Scenario| {
        scenario.latency_ms == 20
            && !scenario.partition_limit
            && Scenario { latency_ms: 0, ..scenario.clone() }.shows_cost()
    };
    if let (Some(ours), Some(plain)) = (find(Contender::Generator, &slow), find(Contender::Plain, &slow)) {
        let measure = format!("wall at 20 ms a page against plain Rust, {} rows", thousands(ours.scenario.rows));
        bars.push(Bar::at_least(measure, plain.wall_seconds / ours.wall_seconds, "×", 6.0, Some(10.0)));
    }
    let of = |rows: u64| find(Contender::Generator, &move |scenario| scenario.shows_cost() && scenario.rows == rows);
    if let (Some(hundred_thousand), Some(million), Some(ten_million)) = (of(100_000), of(1_000_000), of(10_000_000)) {
        bars.push(Bar::at_most("peak memory at 10 M rows".to_owned(), ten_million.peak_mib, "MiB", 64.0, Some(40.0)));
        let more = (ten_million.peak_mib / million.peak_mib - 1.0) * 100.0;
        bars.push(Bar::at_most("peak memory at 10 M rows above that at 1 M".to_owned(), more, "%", 10.0, None));
        let growth = (hundred_thousand.rows_per_cpu_second / ten_million.rows_per_cpu_second - 1.0) * 100.0;
        bars.push(Bar::at_most("growth of CPU a row, 100 k to 10 M rows".to_owned(), growth, "%", 10.0, None));
    }
    bars
}

impl Machine {
    pub(crate) fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        // What follows the numbers is the distributor's.
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
mod tests {
    use super::*;
    use crate::payouts::Spread;
    use std::collections::BTreeMap;

    fn measured(contender: Contender, rows: u64, latency_ms: u64, seconds: &[f64]) -> Measured {
        let scenario = Scenario {
            rows,
            spread: Spread::Even,
            latency_ms,
            partition_limit: false,
            time_limit_seconds: 3 * 3600,
            runs: Vec::new(),
        };
        let sample = |seconds: &f64| Sample {
            wall_seconds: *seconds,
            cpu_seconds: *seconds,
            peak_kib: 30 * 1024,
            invocations: 1,
            calls: BTreeMap::from([("Query".to_owned(), 5), ("GetItem".to_owned(), 1)]),
        };
        Measured::new(&scenario, contender, (7, "00"), seconds.iter().map(sample).collect())
    }

    #[test]
    fn bars_are_ratios_of_medians_where_everybody_runs() {
        // Another kind of run, whose wall time is compared with nobody's.
        let mut chain = measured(Contender::Generator, 5_000_000, 20, &[300.0]);
        chain.scenario.time_limit_seconds = 1;
        let report = Report::new(vec![
            measured(Contender::Generator, 100_000, 0, &[9.0, 1.0, 2.0]),
            measured(Contender::Floor, 100_000, 0, &[0.5]),
            measured(Contender::Plain, 100_000, 0, &[12.0]),
            measured(Contender::Python, 100_000, 0, &[60.0, 80.0]),
            measured(Contender::Generator, 1_000_000, 0, &[20.0]),
            measured(Contender::Generator, 10_000_000, 0, &[240.0]),
            measured(Contender::Generator, 1_000_000, 20, &[20.0]),
            measured(Contender::Plain, 1_000_000, 20, &[100.0]),
            chain,
        ]);
        let bars: Vec<_> = report.bars.iter().map(|bar| (bar.value, bar.is_met)).collect();
        let expected = [(6.0, true), (35.0, false), (4.0, true), (5.0, false), (30.0, true), (0.0, true)];
        assert_eq!(bars[..6], expected);
        assert!((bars[6].0 - 20.0).abs() < 1e-9 && !bars[6].1, "{:?}", bars[6]);
        let text = report.to_text();
        assert!(text.contains("100,000  generate-export") && text.contains("6 (5 Query)"), "{text}");
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
