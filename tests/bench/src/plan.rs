//! Which contenders run on what, and how often.

use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::contender::Contender;
use crate::fake::Conditions;
use crate::payouts::Spread;

/// How to use the command.
pub const HELP: &str = "\
Measures generate-export's release binary against its peers, on the same payouts, with the same file as outcome.

  cargo bench-generator            the whole of it (about 20 minutes, after a release build); refreshes
                                   tests/bench/results
  cargo bench-generator --quick    small sizes, few runs (about 2 minutes); keeps its results in target/bench
  cargo bench-generator OPTIONS    one measurement of your own; keeps its results in target/bench

  --sizes 10k,100k,1m,10m   how many payouts
  --runs N                  how often each contender runs; medians are shown
  --only A,B                contenders: generator, floor, plain, python (Python runs up to 1m only)
  --latency MS              milliseconds that a page of payouts takes
  --partition-limit         the table gives 12 MB/s and throttles beyond that
  --spread S                how payouts are spread over time: even, day, hour or millisecond
  --time-limit SECONDS      how long an invocation of the generator may take before it is ended
  --set NAME=VALUE          a setting of the generator; may be given several times
  --no-build                measures the binaries as they are; goes with all of the above
  --help                    this text
";

/// Python takes minutes a million rows.
const MAX_FOR_PYTHON: u64 = 1_000_000;

/// How long an invocation may take unless it is said: so long that no run has to hand over.
const TIME_LIMIT_SECONDS: u64 = 3 * 3600;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is measured.
    pub scenarios: Vec<Scenario>,
    /// Whether it is the whole of it, so that the results are worth keeping.
    pub is_whole: bool,
    /// Whether the binaries are built first.
    pub builds: bool,
    /// Further settings of the generator.
    pub settings: Vec<(String, String)>,
}

/// One set of payouts under one set of conditions, and who runs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// How many payouts.
    pub rows: u64,
    /// How they are spread over time.
    #[serde(serialize_with = "by_name")]
    pub spread: Spread,
    /// How long a page takes.
    pub latency_ms: u64,
    /// Whether the table gives no more than one partition gives.
    pub partition_limit: bool,
    /// After this an invocation of the generator is ended, so that it has to hand over before.
    pub time_limit_seconds: u64,
    /// Who runs, and how often.
    #[serde(skip)]
    pub runs: Vec<(Contender, usize)>,
}

fn by_name<S: serde::Serializer>(spread: &Spread, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(spread.as_str())
}

impl Scenario {
    /// How AWS behaves.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        Conditions {
            page_latency: Duration::from_millis(self.latency_ms),
            partition_limit: self.partition_limit,
            ..Conditions::default()
        }
    }

    /// Whether it shows what a row costs: nothing stands in the way of the CPU.
    #[must_use]
    pub fn shows_cost(&self) -> bool {
        self.latency_ms == 0
            && !self.partition_limit
            && self.spread == Spread::Even
            && self.time_limit_seconds == TIME_LIMIT_SECONDS
    }

    /// Its name for readers.
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
        format!("{} ms a page{limit}{spread}{invocations}", self.latency_ms)
    }
}

/// Payouts without a special spread.
fn scenario(rows: u64, latency_ms: u64, partition_limit: bool, runs: &[(Contender, usize)]) -> Scenario {
    let spread = Spread::Even;
    Scenario { rows, spread, latency_ms, partition_limit, time_limit_seconds: TIME_LIMIT_SECONDS, runs: runs.to_vec() }
}

fn cost(rows: u64, [generator, floor, plain, python]: [usize; 4]) -> Scenario {
    let runs = [
        (Contender::Generator, generator),
        (Contender::Floor, floor),
        (Contender::Plain, plain),
        (Contender::Python, python),
    ];
    scenario(rows, 0, false, &runs)
}

/// What latency, the partition's limit and skew do to the wall time.
fn shapes(rows: u64, limited_rows: u64, [generator, plain]: [usize; 2]) -> Vec<Scenario> {
    let mut shapes = vec![
        scenario(rows, 20, false, &[(Contender::Generator, generator), (Contender::Plain, plain)]),
        scenario(limited_rows, 20, true, &[(Contender::Generator, generator), (Contender::Plain, plain)]),
    ];
    for spread in [Spread::Day, Spread::Hour, Spread::Millisecond] {
        shapes.push(Scenario { spread, ..scenario(rows, 20, false, &[(Contender::Generator, 1)]) });
    }
    shapes
}

impl Plan {
    /// The plan that the arguments ask for; `None` if they ask for help.
    ///
    /// # Errors
    /// If an argument is not known, or its value is none.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, Error> {
        let mut arguments = arguments.into_iter();
        let (mut quick, mut own, mut builds) = (false, false, true);
        let mut sizes = vec![100_000];
        let mut contenders = Contender::ALL.to_vec();
        let mut runs = 3;
        let mut spread = Spread::Even;
        let (mut latency_ms, mut partition_limit) = (0, false);
        let (mut time_limit_seconds, mut settings) = (TIME_LIMIT_SECONDS, Vec::new());
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
            own |= !matches!(argument.as_str(), "--quick" | "--no-build");
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
                    let (name, value) = value.split_once('=').ok_or_else(|| format!("no setting: {value}"))?;
                    settings.push((name.to_owned(), value.to_owned()));
                }
                other => return Err(format!("unknown argument {other}; see --help").into()),
            }
        }
        if quick && own {
            return Err("--quick has its own sizes and runs: it goes with no other option".into());
        }
        let scenarios = if quick {
            let mut scenarios = vec![cost(10_000, [3, 3, 3, 1]), cost(100_000, [3, 3, 3, 1])];
            scenarios.extend(shapes(100_000, 100_000, [3, 1]));
            scenarios
        } else if own {
            let of = |rows: u64| {
                let fits = |contender: &Contender| *contender != Contender::Python || rows <= MAX_FOR_PYTHON;
                let runs = contenders.iter().copied().filter(fits).map(|contender| (contender, runs)).collect();
                Scenario { rows, spread, latency_ms, partition_limit, time_limit_seconds, runs }
            };
            sizes.into_iter().map(of).collect()
        } else {
            let mut scenarios = vec![
                cost(10_000, [7, 7, 7, 5]),
                cost(100_000, [5, 5, 5, 3]),
                cost(1_000_000, [3, 3, 3, 1]),
                cost(10_000_000, [3, 3, 1, 0]),
            ];
            scenarios.extend(shapes(1_000_000, 300_000, [3, 2]));
            // Invocations as short as can be: a chain of more than twenty.
            let chain = scenario(5_000_000, 20, false, &[(Contender::Generator, 1)]);
            scenarios.push(Scenario { time_limit_seconds: 1, ..chain });
            scenarios
        };
        Ok(Some(Self { scenarios, is_whole: !quick && !own, builds, settings }))
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
    size.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| format!("not a size: {text}").into())
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, Error> {
    text.parse().map_err(|_| format!("not a number: {text}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Option<Plan>, Error> {
        Plan::from_arguments(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn own_measurement_is_one_scenario_a_size() {
        let plan = plan("--sizes 5,2k,10M --runs 2 --only generator,python --latency 20 --spread hour --set A=b=c");
        let plan = plan.unwrap().unwrap();
        let sizes: Vec<_> = plan.scenarios.iter().map(|scenario| (scenario.rows, scenario.runs.len())).collect();
        assert_eq!(sizes, [(5, 2), (2000, 2), (10_000_000, 1)]);
        assert!(plan.scenarios.iter().all(|scenario| scenario.title() == "20 ms a page, 99 % in one hour"));
        assert_eq!((plan.is_whole, plan.settings), (false, vec![("A".to_owned(), "b=c".to_owned())]));
    }

    #[test]
    fn argument_that_is_not_known_is_refused() {
        for arguments in ["--size 5", "--sizes 0", "--sizes", "--runs x", "--only me", "--quick --runs 3", "5"] {
            assert!(plan(arguments).is_err(), "{arguments}");
        }
        assert!(plan("--help").unwrap().is_none());
        assert!(plan("").unwrap().unwrap().is_whole);
    }
}
