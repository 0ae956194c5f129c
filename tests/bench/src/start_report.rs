//! The report of the start benchmark: medians, ratios and targets, as text, JSON and Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use exports_aws::system::LambdaSystem;
use exports_domain::ports::System as _;
use serde::Serialize;

use crate::line_of_inputs;
use crate::report::{Machine, TARGET_COLUMNS, Target, aligned, markdown, median};
use crate::start::{Implementation, StartSample, Subject, Turns};

/// The results of the start benchmark.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartReport {
    /// When the benchmark ended.
    pub made_at: String,
    /// The digest of what it depends on.
    pub inputs: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// The results, by function.
    pub results: Vec<StartSummary>,
    /// Targets that do not depend on the machine or its load.
    pub footprint: Vec<Target>,
    /// Targets for times.
    pub times: Vec<Target>,
}

/// The summary of all starts of one implementation of a function.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartSummary {
    /// The function's name.
    pub function: &'static str,
    /// Whether it is an HTTP route.
    pub is_route: bool,
    /// The implementation.
    pub implementation: Implementation,
    /// Size of the binary; `None` for scripts.
    pub binary_bytes: Option<u64>,
    /// Median.
    pub init_cpu_ms: f64,
    /// Median.
    pub first_cpu_ms: f64,
    /// Median of the sum of both.
    pub start_cpu_ms: f64,
    /// Median of how many times the function's CPU time both took in the same turn.
    pub start_ratio: f64,
    /// Median CPU time of the starts of the [`REFERENCE`](crate::start::REFERENCE) in the same turns.
    pub reference_cpu_ms: Option<f64>,
    /// Median of the wall time from process start to the first response.
    pub first_wall_ms: f64,
    /// Warm events, if any were measured.
    pub warm: Option<WarmSummary>,
    /// Number of starts.
    pub starts: usize,
}

/// Medians of warm events.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmSummary {
    /// CPU time per event.
    pub cpu_ms: f64,
    /// How many times the function's CPU time in the same turn.
    pub ratio: f64,
    /// AWS calls per event.
    pub calls: f64,
    /// AWS calls per event, by operation.
    pub calls_by_operation: BTreeMap<String, f64>,
    /// Resident memory after all events.
    pub resident_mib: f64,
    /// Growth of resident memory since the first tenth of the events, in percent.
    pub growth_percent: f64,
}

impl StartSummary {
    /// Summarizes the starts of an implementation of `subject`.
    #[must_use]
    pub fn new(subject: &Subject, implementation: Implementation, binary_bytes: Option<u64>, turns: &Turns) -> Self {
        let of_implementation = |wanted| turns.starts.get(&wanted).map(Vec::as_slice).unwrap_or_default();
        let (starts, functions) = (of_implementation(implementation), of_implementation(Implementation::Function));
        let ratio = |cpu_ms: &dyn Fn(&StartSample) -> Option<f64>| {
            median(
                starts.iter().zip(functions).filter_map(|(start, function)| Some(cpu_ms(start)? / cpu_ms(function)?)),
            )
        };
        let references = turns.references.iter().map(StartSample::start_cpu_ms);
        let of = |value: &dyn Fn(&StartSample) -> f64| median(starts.iter().map(value));
        let warm: Vec<_> = starts.iter().filter_map(|start| start.warm.as_ref()).collect();
        let warmed = warm.last().map(|last| WarmSummary {
            cpu_ms: median(warm.iter().map(|warm| warm.cpu_ms)),
            ratio: ratio(&|start| start.warm.as_ref().map(|warm| warm.cpu_ms)),
            // Not `sum`, which is -0.0 for no calls.
            calls: last.calls.values().fold(0.0, |sum, calls| sum + calls),
            calls_by_operation: last.calls.clone(),
            resident_mib: median(warm.iter().map(|warm| warm.resident_kib as f64 / 1024.0)),
            growth_percent: median(
                warm.iter().map(|warm| (warm.resident_kib as f64 / warm.early_kib as f64 - 1.0) * 100.0),
            ),
        });
        Self {
            function: subject.name,
            is_route: subject.is_route,
            implementation,
            binary_bytes,
            init_cpu_ms: of(&|start| start.init_cpu_ms),
            first_cpu_ms: of(&|start| start.first_cpu_ms),
            start_cpu_ms: of(&StartSample::start_cpu_ms),
            start_ratio: ratio(&|start| Some(start.start_cpu_ms())),
            reference_cpu_ms: (!turns.references.is_empty()).then(|| median(references)),
            first_wall_ms: of(&|start| start.first_wall_ms),
            warm: warmed,
            starts: starts.len(),
        }
    }

    fn row(&self) -> [String; 12] {
        let warm = |value: &dyn Fn(&WarmSummary) -> String| self.warm.as_ref().map(value).unwrap_or_default();
        [
            self.function.to_owned(),
            self.implementation.title().to_owned(),
            format!("{:.2}", self.init_cpu_ms),
            format!("{:.2}", self.first_cpu_ms),
            format!("{:.2}", self.start_cpu_ms),
            format!("{:.1}", self.start_ratio),
            format!("{:.1}", self.first_wall_ms),
            warm(&|warm| format!("{:.3}", warm.cpu_ms)),
            warm(&|warm| format!("{:.1}", warm.ratio)),
            warm(&|warm| format!("{:.0}", warm.calls)),
            warm(&|warm| format!("{:.1}", warm.resident_mib)),
            self.binary_bytes.map(|bytes| format!("{:.2}", mebibytes(bytes))).unwrap_or_default(),
        ]
    }
}

const COLUMNS: [&str; 12] = [
    "function",
    "implementation",
    "init CPU ms",
    "first CPU ms",
    "cold start CPU ms",
    "× function",
    "first response ms",
    "warm CPU ms",
    "× function",
    "AWS calls",
    "resident MiB",
    "binary MiB",
];

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl StartReport {
    /// A report of `results` as of now.
    #[must_use]
    pub fn new(results: Vec<StartSummary>, inputs: String) -> Self {
        let (footprint, times) = (footprint(&results), times(&results));
        Self { made_at: LambdaSystem.now().to_string(), inputs, machine: Machine::this(), results, footprint, times }
    }

    /// The report for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let rows: Vec<_> = self.results.iter().map(StartSummary::row).collect();
        let targets: Vec<_> = self.times.iter().chain(&self.footprint).map(Target::row).collect();
        format!("{}\n{}", aligned(&COLUMNS, &rows), aligned(&TARGET_COLUMNS, &targets))
    }

    /// The report as a Markdown file.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let Machine { processor, threads, kernel } = &self.machine;
        let day = self.made_at.get(..10).unwrap_or_default();
        let mut text = format!(
            "# Cold starts and warm requests of every function\n\nMeasured by `cargo bench-start` on {day}: {processor}, {threads} \
             threads, Linux {kernel}. Each start is a new process of the release binary, invoked through Lambda's runtime API, \
             with a fake AWS on loopback over TLS. CPU time is the kernel's count for the process. The implementations take \
             turns. Values are medians; a ratio is the median of the turns' ratios, because the machine's speed varies.\n\n{}",
            line_of_inputs(&self.inputs)
        );
        let targets: Vec<_> = self.times.iter().chain(&self.footprint).map(Target::row).collect();
        let _ = write!(text, "\n## Targets\n\n{}", markdown(&TARGET_COLUMNS, &targets));
        let rows: Vec<_> = self.results.iter().map(StartSummary::row).collect();
        let _ = write!(text, "\n## All results\n\n{}", markdown(&COLUMNS, &rows));
        text.push_str(
            "\ninit: from process start to the first poll. first: the first event. cold start: both. first response: wall time \
             from process start. warm: mean of 1,000 further events, with their AWS calls per event. × function: CPU time \
             compared with the function's. resident: memory after them.\n",
        );
        text
    }
}

fn find<'a>(results: &'a [StartSummary], function: &str, implementation: Implementation) -> Option<&'a StartSummary> {
    results.iter().find(|started| started.function == function && started.implementation == implementation)
}

fn times(results: &[StartSummary]) -> Vec<Target> {
    let mut targets = Vec::new();
    for (implementation, target, goal) in [
        (Implementation::Python, 40.0, Some(50.0)),
        (Implementation::Node, 25.0, None),
        (Implementation::Plain, 6.0, None),
    ] {
        if let Some(peer) = find(results, "create-export", implementation) {
            let measure = format!("create-export: init and first request, CPU, compared with {implementation}");
            targets.push(Target::at_least(measure, peer.start_ratio, "×", target, goal));
        }
    }
    for function in ["list-exports", "get-export"] {
        let python = find(results, function, Implementation::Python);
        if let Some(warm) = python.and_then(|started| started.warm.as_ref()) {
            let measure = format!("{function}: a warm request, CPU, compared with Python");
            targets.push(Target::at_least(measure, warm.ratio, "×", 10.0, Some(20.0)));
        }
    }
    targets
}

fn footprint(results: &[StartSummary]) -> Vec<Target> {
    let routes =
        || results.iter().filter(|started| started.implementation == Implementation::Function && started.is_route);
    let mut targets = Vec::new();
    for route in routes() {
        if let Some(bytes) = route.binary_bytes {
            let measure = format!("{}: size of the binary", route.function);
            targets.push(Target::at_most(measure, mebibytes(bytes), "MiB", 6.0, Some(4.0)));
        }
    }
    for route in routes() {
        let Some(warm) = &route.warm else { continue };
        let measure = format!("{}: resident memory after 1,000 requests", route.function);
        targets.push(Target::at_most(measure, warm.resident_mib, "MiB", 24.0, Some(16.0)));
        let measure = format!("{}: growth of resident memory over the last 900", route.function);
        targets.push(Target::at_most(measure, warm.growth_percent, "%", 5.0, None));
    }
    for (function, calls) in [("create-export", 2.0), ("list-exports", 1.0), ("get-export", 2.0), ("resend-email", 5.0)]
    {
        let ours = find(results, function, Implementation::Function);
        if let Some(warm) = ours.and_then(|started| started.warm.as_ref()) {
            // Rounded, because long runs read cached keys again: API keys after 45 s, the signing key after 5 minutes.
            let measure = format!("{function}: AWS calls of a warm request");
            targets.push(Target::at_most(measure, (warm.calls * 10.0).round() / 10.0, "", calls, None));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::start::{SUBJECTS, WarmSample};

    /// A start, and warm events with a tenth of its CPU time.
    fn start(cpu_ms: f64, resident_kib: u64, calls: f64) -> StartSample {
        StartSample {
            init_cpu_ms: cpu_ms / 2.0,
            first_cpu_ms: cpu_ms / 2.0,
            first_wall_ms: 5.0 * cpu_ms,
            warm: Some(WarmSample {
                cpu_ms: cpu_ms / 10.0,
                calls: BTreeMap::from([("PutItem".to_owned(), calls)]),
                early_kib: 10 * 1024,
                resident_kib,
            }),
        }
    }

    /// The function and Python, with these CPU times in each turn.
    fn summaries(function: &str, turns: &[(f64, f64)], resident_kib: u64, calls: f64) -> Vec<StartSummary> {
        let subject = SUBJECTS.iter().find(|subject| subject.name == function).expect("a function");
        let mut all = Turns::default();
        for (ours, python) in turns {
            for (implementation, cpu_ms) in [(Implementation::Function, *ours), (Implementation::Python, *python)] {
                all.starts.entry(implementation).or_default().push(start(cpu_ms, resident_kib, calls));
            }
        }
        let summary = |implementation: &Implementation| {
            let bytes = (*implementation == Implementation::Function).then_some(7 << 20);
            StartSummary::new(subject, *implementation, bytes, &all)
        };
        all.starts.keys().map(summary).collect()
    }

    #[test]
    fn targets_compare_what_took_turns() {
        // The medians of the times, 8 and 800 ms, are of the same turn, but their ratio is not the median.
        let launch = summaries("create-export", &[(8.0, 800.0), (80.0, 900.0), (6.0, 480.0)], 20 * 1024, 3.0);
        assert_eq!(launch.iter().map(|started| started.start_cpu_ms).collect::<Vec<_>>(), [8.0, 800.0]);
        let list = summaries("list-exports", &[(20.0, 180.0), (2.0, 18.0), (2.0, 18.0)], 10 * 1024, 1.004);
        let report = StartReport::new([launch, list].concat(), "0123456789abcdef".to_owned());
        assert!(report.to_markdown().contains("\nInputs: `0123456789abcdef` "));
        let shown = |targets: &[Target]| targets.iter().map(|target| (target.value, target.is_met)).collect::<Vec<_>>();
        assert_eq!(shown(&report.times), [(80.0, true), (9.0, false)]);
        let footprint = [(7.0, false), (7.0, false), (20.0, true), (100.0, false), (10.0, true), (0.0, true)];
        assert_eq!(shown(&report.footprint)[..6], footprint);
        assert_eq!(shown(&report.footprint)[6..], [(3.0, false), (1.0, true)]);
    }
}
