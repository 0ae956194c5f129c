//! Starts and responses of every function and of its peers: medians, ratios and bars, as text, JSON and Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use exports_aws::system::LambdaSystem;
use exports_domain::ports::System as _;
use serde::Serialize;

use crate::report::{BAR_COLUMNS, Bar, Machine, aligned, markdown, median};
use crate::start::{Start, Who};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartReport {
    /// When it was made.
    pub made_at: String,
    /// Where.
    pub machine: Machine,
    /// The results, function by function.
    pub results: Vec<Started>,
    /// What had to be shown that does not depend on the machine or on what else it does.
    pub footprint: Vec<Bar>,
    /// What had to be shown of times.
    pub times: Vec<Bar>,
}

/// All starts of one function by one contender.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The function.
    pub function: &'static str,
    /// Whether it is a route.
    pub is_route: bool,
    /// Who answered.
    pub who: Who,
    /// The size of its binary, if it is one.
    pub binary_bytes: Option<u64>,
    /// Median.
    pub init_cpu_ms: f64,
    /// Median.
    pub first_cpu_ms: f64,
    /// Median of both together.
    pub start_cpu_ms: f64,
    /// Median: from the start of the process to its first response.
    pub first_wall_ms: f64,
    /// What a further event takes, if any were measured.
    pub warm: Option<Warmed>,
    /// How many starts.
    pub starts: usize,
}

/// Medians of what further events took.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warmed {
    /// CPU.
    pub cpu_ms: f64,
    /// Calls to AWS, of all operations.
    pub calls: f64,
    /// By operation.
    pub calls_by_operation: BTreeMap<String, f64>,
    /// Memory that is resident after all.
    pub resident_mib: f64,
    /// How much of it has come since a tenth of them, in percent.
    pub growth_percent: f64,
}

impl Started {
    /// The starts of `function` by `who`.
    #[must_use]
    pub fn new(function: &'static str, is_route: bool, who: Who, binary_bytes: Option<u64>, starts: &[Start]) -> Self {
        let of = |value: &dyn Fn(&Start) -> f64| median(starts.iter().map(value));
        let warm: Vec<_> = starts.iter().filter_map(|start| start.warm.as_ref()).collect();
        let warmed = warm.last().map(|last| Warmed {
            cpu_ms: median(warm.iter().map(|warm| warm.cpu_ms)),
            // Not a sum, which of nothing is -0.
            calls: last.calls.values().fold(0.0, |sum, calls| sum + calls),
            calls_by_operation: last.calls.clone(),
            resident_mib: median(warm.iter().map(|warm| warm.resident_kib as f64 / 1024.0)),
            growth_percent: median(
                warm.iter().map(|warm| (warm.resident_kib as f64 / warm.early_kib as f64 - 1.0) * 100.0),
            ),
        });
        Self {
            function,
            is_route,
            who,
            binary_bytes,
            init_cpu_ms: of(&|start| start.init_cpu_ms),
            first_cpu_ms: of(&|start| start.first_cpu_ms),
            start_cpu_ms: of(&|start| start.init_cpu_ms + start.first_cpu_ms),
            first_wall_ms: of(&|start| start.first_wall_ms),
            warm: warmed,
            starts: starts.len(),
        }
    }

    fn row(&self) -> [String; 10] {
        let warm = |value: &dyn Fn(&Warmed) -> String| self.warm.as_ref().map(value).unwrap_or_default();
        [
            self.function.to_owned(),
            self.who.title().to_owned(),
            format!("{:.2}", self.init_cpu_ms),
            format!("{:.2}", self.first_cpu_ms),
            format!("{:.2}", self.start_cpu_ms),
            format!("{:.1}", self.first_wall_ms),
            warm(&|warm| format!("{:.3}", warm.cpu_ms)),
            warm(&|warm| format!("{:.0}", warm.calls)),
            warm(&|warm| format!("{:.1}", warm.resident_mib)),
            self.binary_bytes.map(|bytes| format!("{:.2}", mebibytes(bytes))).unwrap_or_default(),
        ]
    }
}

const COLUMNS: [&str; 10] = [
    "function",
    "who",
    "init CPU ms",
    "first CPU ms",
    "both CPU ms",
    "first response ms",
    "further CPU ms",
    "AWS calls",
    "resident MiB",
    "binary MiB",
];

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl StartReport {
    /// The results and what they show.
    #[must_use]
    pub fn new(results: Vec<Started>) -> Self {
        let (footprint, times) = (footprint(&results), times(&results));
        Self { made_at: LambdaSystem.now().to_string(), machine: Machine::this(), results, footprint, times }
    }

    /// For a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let rows: Vec<_> = self.results.iter().map(Started::row).collect();
        let bars: Vec<_> = self.times.iter().chain(&self.footprint).map(Bar::row).collect();
        format!("{}\n{}", aligned(&COLUMNS, &rows), aligned(&BAR_COLUMNS, &bars))
    }

    /// For people who read the repository.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let Machine { processor, threads, kernel } = &self.machine;
        let day = self.made_at.get(..10).unwrap_or_default();
        let mut text = format!(
            "# Starts and responses of every function\n\nMade by `cargo bench-start` on {day}: {processor}, {threads} threads, \
             Linux {kernel}. Each start is a new process of the release binary behind Lambda's runtime API, with AWS played \
             on loopback over TLS, each service in a place of its own. CPU is what the kernel counted for the process; \
             medians, all contenders in turns.\n"
        );
        let bars: Vec<_> = self.times.iter().chain(&self.footprint).map(Bar::row).collect();
        let _ = write!(text, "\n## What it has to show\n\n{}", markdown(&BAR_COLUMNS, &bars));
        let rows: Vec<_> = self.results.iter().map(Started::row).collect();
        let _ = write!(text, "\n## All of it\n\n{}", markdown(&COLUMNS, &rows));
        text.push_str(
            "\ninit: until it asks for its first event. first: that event. both: what a call after minutes of silence \
             costs. first response: from the start of the process, by the system. further: one event after those, in the \
             mean of 1,000, with its calls to AWS; resident: memory after them.\n",
        );
        text
    }
}

fn find<'a>(results: &'a [Started], function: &str, who: Who) -> Option<&'a Started> {
    results.iter().find(|started| started.function == function && started.who == who)
}

fn times(results: &[Started]) -> Vec<Bar> {
    let mut bars = Vec::new();
    if let Some(ours) = find(results, "create-export", Who::Function) {
        for (who, bar) in [(Who::Python, 40.0), (Who::Node, 25.0), (Who::Plain, 6.0)] {
            if let Some(peer) = find(results, "create-export", who) {
                let measure = format!("create-export: init and first request, CPU, against {who}");
                bars.push(Bar::at_least(measure, peer.start_cpu_ms / ours.start_cpu_ms, "×", bar, None));
            }
        }
        let measure = "create-export: init and first request, CPU".to_owned();
        bars.push(Bar::at_most(measure, ours.start_cpu_ms, "ms", 10.0, Some(6.0)));
    }
    for function in ["list-exports", "get-export"] {
        let warm = |who| find(results, function, who).and_then(|started| started.warm.as_ref());
        if let (Some(ours), Some(python)) = (warm(Who::Function), warm(Who::Python)) {
            let measure = format!("{function}: a further request, CPU, against Python");
            bars.push(Bar::at_least(measure, python.cpu_ms / ours.cpu_ms, "×", 10.0, Some(20.0)));
        }
    }
    bars
}

fn footprint(results: &[Started]) -> Vec<Bar> {
    let routes = || results.iter().filter(|started| started.who == Who::Function && started.is_route);
    let mut bars = Vec::new();
    for route in routes() {
        if let Some(bytes) = route.binary_bytes {
            let measure = format!("{}: size of the binary", route.function);
            bars.push(Bar::at_most(measure, mebibytes(bytes), "MiB", 6.0, Some(4.0)));
        }
    }
    for route in routes() {
        let Some(warm) = &route.warm else { continue };
        let measure = format!("{}: resident memory after 1,000 requests", route.function);
        bars.push(Bar::at_most(measure, warm.resident_mib, "MiB", 24.0, Some(16.0)));
        let measure = format!("{}: its growth over the last 900", route.function);
        bars.push(Bar::at_most(measure, warm.growth_percent, "%", 5.0, None));
    }
    for (function, calls) in [("create-export", 2.0), ("list-exports", 1.0), ("get-export", 2.0)] {
        let ours = find(results, function, Who::Function);
        if let Some(warm) = ours.and_then(|started| started.warm.as_ref()) {
            // A key that is believed for 45 s and one that is used for 5 minutes are read again in a run that is longer.
            let measure = format!("{function}: calls to AWS of a further request");
            bars.push(Bar::at_most(measure, (warm.calls * 10.0).round() / 10.0, "", calls, None));
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::start::Warm;

    fn started(function: &'static str, who: Who, starts: &[f64], resident_kib: u64, calls: f64) -> Started {
        let start = |cpu: &f64| Start {
            init_cpu_ms: *cpu,
            first_cpu_ms: *cpu,
            first_wall_ms: 5.0 * cpu,
            warm: Some(Warm {
                cpu_ms: cpu / 10.0,
                calls: BTreeMap::from([("PutItem".to_owned(), calls)]),
                early_kib: 10 * 1024,
                resident_kib,
            }),
        };
        let bytes = (who == Who::Function).then_some(7 << 20);
        Started::new(function, true, who, bytes, &starts.iter().map(start).collect::<Vec<_>>())
    }

    #[test]
    fn bars_compare_medians_of_the_same_function() {
        let report = StartReport::new(vec![
            started("create-export", Who::Function, &[4.0, 100.0, 3.0], 20 * 1024, 3.0),
            started("create-export", Who::Python, &[400.0], 60 * 1024, 2.0),
            started("list-exports", Who::Function, &[1.0], 10 * 1024, 1.004),
            started("list-exports", Who::Python, &[9.0], 10 * 1024, 1.0),
        ]);
        let shown = |bars: &[Bar]| bars.iter().map(|bar| (bar.value, bar.is_met)).collect::<Vec<_>>();
        assert_eq!(shown(&report.times), [(100.0, true), (8.0, true), (9.0, false)]);
        let footprint = [(7.0, false), (7.0, false), (20.0, true), (100.0, false), (10.0, true), (0.0, true)];
        assert_eq!(shown(&report.footprint)[..6], footprint);
        assert_eq!(shown(&report.footprint)[6..], [(3.0, false), (1.0, true)]);
    }
}
