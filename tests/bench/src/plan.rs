//! The scenarios of the generator benchmark, and the runs of each contender.

use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::contender::Contender;
use crate::fake::Conditions;
use crate::payouts::Spread;

/// The help text.
pub const HELP: &str = "\
Compares generate-export's release binary with its peers. All read the same payouts and must write the same file.

  cargo bench-generator            the full benchmark (about 20 minutes after a release build); updates
                                   tests/bench/results
  cargo bench-generator --quick    small sizes, few runs (about 2 minutes); results in target/bench
  cargo bench-generator OPTIONS    a custom benchmark; results in target/bench

  --sizes 10k,100k,1m,10m   numbers of payouts
  --runs N                  runs per contender; reports the medians
  --only A,B                contenders: generator, floor, plain, python (Python runs up to 1m only)
  --latency MS              delay of each page of payouts, in milliseconds
  --partition-limit         throttle the table above 12 MB/s
  --spread S                distribution of payouts over time: even, day, hour or millisecond
  --time-limit SECONDS      time-out of the generator's invocations
  --set NAME=VALUE          a setting of the generator; can be repeated
  --no-build                use the existing binaries; can be combined with all other options
  --help                    print this text
";

/// Python needs minutes per million rows.
const MAX_FOR_PYTHON: u64 = 1_000_000;

/// The default time-out of an invocation, long enough for every run.
const TIME_LIMIT_SECONDS: u64 = 3 * 3600;

/// The benchmark that the command line requests.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenarios to run.
    pub scenarios: Vec<Scenario>,
    /// Whether it is the full benchmark, whose results are committed.
    pub is_full: bool,
    /// Whether to build the binaries first.
    pub builds: bool,
    /// Additional settings of the generator.
    pub settings: Vec<(String, String)>,
}

/// A data set, the conditions, and the runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Number of payouts.
    pub rows: u64,
    /// Their distribution over time.
    #[serde(serialize_with = "by_name")]
    pub spread: Spread,
    /// Delay of each page.
    pub latency_ms: u64,
    /// Whether the table has the throughput limit of one partition.
    pub partition_limit: bool,
    /// Time-out of the generator's invocations.
    pub time_limit_seconds: u64,
    /// The contenders and their numbers of runs.
    #[serde(skip)]
    pub runs: Vec<(Contender, usize)>,
}

fn by_name<S: serde::Serializer>(spread: &Spread, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(spread.as_str())
}

impl Scenario {
    /// The fake AWS's behaviour.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        Conditions {
            page_latency: Duration::from_millis(self.latency_ms),
            partition_limit: self.partition_limit,
            ..Conditions::default()
        }
    }

    /// Whether only the CPU limits the speed, so that it measures the CPU time per row.
    #[must_use]
    pub fn is_cpu_bound(&self) -> bool {
        self.latency_ms == 0
            && !self.partition_limit
            && self.spread == Spread::Even
            && self.time_limit_seconds == TIME_LIMIT_SECONDS
    }

    /// The title in reports.
    #[must_use]
    pub fn title(&self) -> String {
        let limit = if self.partition_limit { ", 12 MB/s" } else { "" };
        let spread = match self.spread {
            Spread::Even => "",
            Spread::Day => ", all in one day",
            Spread::Hour => ", 99 % in one hour",
            Spread::Millisecond => ", all in one millisecond",
        };
        let invocations = match self.time_limit_seconds {
            TIME_LIMIT_SECONDS => String::new(),
            seconds => format!(", invocations of {seconds} s"),
        };
        format!("{} ms per page{limit}{spread}{invocations}", self.latency_ms)
    }
}

/// A scenario with an even distribution and the default time-out.
fn scenario(rows: u64, latency_ms: u64, partition_limit: bool, runs: &[(Contender, usize)]) -> Scenario {
    let spread = Spread::Even;
    Scenario { rows, spread, latency_ms, partition_limit, time_limit_seconds: TIME_LIMIT_SECONDS, runs: runs.to_vec() }
}

fn cpu_bound(rows: u64, [generator, floor, plain, python]: [usize; 4]) -> Scenario {
    let runs = [
        (Contender::Generator, generator),
        (Contender::Floor, floor),
        (Contender::Plain, plain),
        (Contender::Python, python),
    ];
    scenario(rows, 0, false, &runs)
}

/// Scenarios that measure the effect of latency, the partition limit and skew on wall time.
fn wall_time_scenarios(rows: u64, limited_rows: u64, [generator, plain]: [usize; 2]) -> Vec<Scenario> {
    let mut scenarios = vec![
        scenario(rows, 20, false, &[(Contender::Generator, generator), (Contender::Plain, plain)]),
        scenario(limited_rows, 20, true, &[(Contender::Generator, generator), (Contender::Plain, plain)]),
    ];
    for spread in [Spread::Day, Spread::Hour, Spread::Millisecond] {
        scenarios.push(Scenario { spread, ..scenario(rows, 20, false, &[(Contender::Generator, 1)]) });
    }
    scenarios
}

impl Plan {
    /// The plan for these arguments; `None` for `--help`.
    ///
    /// # Errors
    /// If an argument is unknown, or its value is missing or invalid.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, Error> {
        let mut arguments = arguments.into_iter();
        let (mut quick, mut custom, mut builds) = (false, false, true);
        let mut sizes = vec![100_000];
        let mut contenders = Contender::ALL.to_vec();
        let mut runs = 3;
        let mut spread = Spread::Even;
        let (mut latency_ms, mut partition_limit) = (0, false);
        let (mut time_limit_seconds, mut settings) = (TIME_LIMIT_SECONDS, Vec::new());
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
            custom |= !matches!(argument.as_str(), "--quick" | "--no-build");
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => quick = true,
                "--no-build" => builds = false,
                "--sizes" => sizes = value()?.split(',').map(size).collect::<Result<_, _>>()?,
                "--runs" => runs = number(&value()?)?,
                "--only" => contenders = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--latency" => latency_ms = number(&value()?)?,
                "--partition-limit" => partition_limit = true,
                "--spread" => spread = value()?.parse()?,
                "--time-limit" => time_limit_seconds = number(&value()?)?,
                "--set" => {
                    let value = value()?;
                    let (name, value) =
                        value.split_once('=').ok_or_else(|| format!("invalid setting: {value}; use NAME=VALUE"))?;
                    settings.push((name.to_owned(), value.to_owned()));
                }
                other => return Err(format!("unknown argument {other}; see --help").into()),
            }
        }
        if quick && custom {
            return Err("--quick can only be combined with --no-build".into());
        }
        let scenarios = if quick {
            let mut scenarios = vec![cpu_bound(10_000, [3, 3, 3, 1]), cpu_bound(100_000, [3, 3, 3, 1])];
            scenarios.extend(wall_time_scenarios(100_000, 100_000, [3, 1]));
            scenarios
        } else if custom {
            let of = |rows: u64| {
                let fits = |contender: &Contender| *contender != Contender::Python || rows <= MAX_FOR_PYTHON;
                let runs = contenders.iter().copied().filter(fits).map(|contender| (contender, runs)).collect();
                Scenario { rows, spread, latency_ms, partition_limit, time_limit_seconds, runs }
            };
            sizes.into_iter().map(of).collect()
        } else {
            let mut scenarios = vec![
                cpu_bound(10_000, [7, 7, 7, 5]),
                cpu_bound(100_000, [5, 5, 5, 3]),
                cpu_bound(1_000_000, [3, 3, 3, 1]),
                cpu_bound(10_000_000, [3, 3, 1, 0]),
            ];
            scenarios.extend(wall_time_scenarios(1_000_000, 300_000, [3, 2]));
            // The shortest time-out: more than 20 invocations for one export.
            let chain = scenario(5_000_000, 20, false, &[(Contender::Generator, 1)]);
            scenarios.push(Scenario { time_limit_seconds: 1, ..chain });
            scenarios
        };
        Ok(Some(Self { scenarios, is_full: !quick && !custom, builds, settings }))
    }
}

fn size(text: &str) -> Result<u64, Error> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1000),
        (_, Some(digits)) => (digits, 1_000_000),
        _ => (lower.as_str(), 1),
    };
    let size: u64 = number(digits)?;
    size.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| format!("invalid size: {text}").into())
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, Error> {
    text.parse().map_err(|_| format!("invalid number: {text}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Option<Plan>, Error> {
        Plan::from_arguments(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn custom_benchmark_has_one_scenario_per_size() {
        let plan = plan("--sizes 5,2k,10M --runs 2 --only generator,python --latency 20 --spread hour --set A=b=c");
        let plan = plan.unwrap().unwrap();
        let sizes: Vec<_> = plan.scenarios.iter().map(|scenario| (scenario.rows, scenario.runs.len())).collect();
        assert_eq!(sizes, [(5, 2), (2000, 2), (10_000_000, 1)]);
        assert!(plan.scenarios.iter().all(|scenario| scenario.title() == "20 ms per page, 99 % in one hour"));
        assert_eq!((plan.is_full, plan.settings), (false, vec![("A".to_owned(), "b=c".to_owned())]));
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        for arguments in ["--size 5", "--sizes 0", "--sizes", "--runs x", "--only me", "--quick --runs 3", "5"] {
            assert!(plan(arguments).is_err(), "{arguments}");
        }
        assert!(plan("--help").unwrap().is_none());
        assert!(plan("").unwrap().unwrap().is_full);
    }
}
