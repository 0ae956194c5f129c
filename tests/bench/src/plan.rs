//! The scenarios of the generator benchmark, and the runs of each contender.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use exports_domain::export_type::ExportType;
use serde::{Serialize, Serializer};

use crate::Error;
use crate::contender::Contender;
use crate::fake::Conditions;
use crate::source_rows::{Filter, Spread};

/// The help text.
pub const HELP: &str = "\
Compares generate-export's release binary with its peers. All read the same rows and must write the same file.

  cargo bench-generator            the full benchmark (about an hour after a release build); updates
                                   tests/bench/results
  cargo bench-generator --quick    small sizes, few runs (about a minute); results in target/bench
  cargo bench-generator OPTIONS    a custom benchmark; results in target/bench

  --sizes 10k,100k,1m,10m   numbers of rows in the source table
  --types A,B               export types; without it, marketplace-payouts
  --filter off,values,month the export's filter: none, one status and currency (one row in eight), or the creation times
                            of one month; without it, off
  --runs N                  runs per contender; reports the medians
  --only A,B                contenders: generator, baseline, floor, plain, python (Python runs up to 1m only)
  --baseline FILE           compares with another binary of generate-export, the baseline; use 20 runs or more
  --latency MS              delay of each page of rows, in milliseconds
  --read-share PERCENT      share of the partition's limit that the generator may take; without it, 100
  --cpu-only                without the partition's limit of 12 MB/s, so that only the CPU limits the speed
  --spread S                distribution of rows over time: even, day, hour or millisecond
  --time-limit SECONDS      time-out of the generator's invocations
  --set NAME=VALUE          a setting of the generator; can be repeated
  --no-build                use the existing binaries; can be combined with all other options
  --help                    print this text
";

/// The contenders of a comparison with the peers.
const PEERS: [Contender; 4] = [Contender::Generator, Contender::Floor, Contender::Plain, Contender::Python];

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
    /// The binary of the baseline.
    pub baseline: Option<PathBuf>,
}

/// A data set, the conditions, and the runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// The export type.
    #[serde(serialize_with = "as_slug")]
    pub export_type: ExportType,
    /// The filter of the export.
    pub filter: Filter,
    /// Number of rows in the source table.
    pub rows: u64,
    /// Their distribution over time.
    #[serde(serialize_with = "as_name")]
    pub spread: Spread,
    /// Delay of each page.
    pub latency_ms: u64,
    /// The share of a partition's limit that the generator may take, in percent. All contenders read from one partition;
    /// if `None`, it has no limit.
    pub read_share: Option<u64>,
    /// Time-out of the generator's invocations.
    pub time_limit_seconds: u64,
    /// The contenders and their numbers of runs.
    #[serde(skip)]
    pub runs: Vec<(Contender, usize)>,
}

fn as_slug<S: Serializer>(export_type: &ExportType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(export_type.slug())
}

fn as_name<S: Serializer>(spread: &Spread, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(spread)
}

impl Scenario {
    /// The fake AWS's behaviour.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        Conditions {
            page_latency: Duration::from_millis(self.latency_ms),
            partition_limit: self.read_share.is_some(),
            ..Conditions::default()
        }
    }

    /// Whether only the CPU limits the speed, so that it measures the CPU time per row.
    #[must_use]
    pub fn is_cpu_bound(&self) -> bool {
        self.latency_ms == 0
            && self.read_share.is_none()
            && self.spread == Spread::Even
            && self.time_limit_seconds == TIME_LIMIT_SECONDS
    }

    /// Whether it exports all rows of the type that targets and charts are about.
    #[must_use]
    pub fn is_of_main_type(&self) -> bool {
        self.export_type == ExportType::MarketplacePayouts && self.filter == Filter::Off
    }

    /// The title in reports.
    #[must_use]
    pub fn title(&self) -> String {
        let conditions = match (self.read_share, self.latency_ms) {
            (None, 0) => "CPU only".to_owned(),
            (None, latency) => format!("latency only, {latency} ms per page"),
            (Some(share), 0) => format!("one partition, share {share} %"),
            (Some(share), latency) => format!("one partition, share {share} %, {latency} ms per page"),
        };
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
        let title = self.export_type.definition().title;
        let filter = match self.filter {
            Filter::Off => "",
            Filter::Values => " of one status and currency",
            Filter::Month => " of one month",
        };
        format!("{title}{filter}, {conditions}{spread}{invocations}")
    }
}

/// All rows of the main type, with an even distribution and the default time-out.
fn scenario(rows: u64, latency_ms: u64, read_share: Option<u64>, runs: &[(Contender, usize)]) -> Scenario {
    Scenario {
        export_type: ExportType::MarketplacePayouts,
        filter: Filter::Off,
        rows,
        spread: Spread::Even,
        latency_ms,
        read_share,
        time_limit_seconds: TIME_LIMIT_SECONDS,
        runs: runs.to_vec(),
    }
}

fn cpu_bound(rows: u64, runs: [usize; 4]) -> Scenario {
    let runs: Vec<_> = PEERS.into_iter().zip(runs).collect();
    scenario(rows, 0, None, &runs)
}

/// At the limit of one partition, which all contenders have.
fn limited(rows: u64, read_share: u64, runs: [usize; 4]) -> Scenario {
    Scenario { read_share: Some(read_share), ..cpu_bound(rows, runs) }
}

/// The same scenario for all types, with and without a filter of the rows as read.
fn of_all_types(scenario: &Scenario) -> impl Iterator<Item = Scenario> {
    ExportType::ALL.into_iter().flat_map(|export_type| {
        [Filter::Off, Filter::Values].map(|filter| Scenario { export_type, filter, ..scenario.clone() })
    })
}

/// Scenarios that show whether reads are parallel with any distribution of the rows.
fn skewed_scenarios(rows: u64) -> impl Iterator<Item = Scenario> {
    [Spread::Even, Spread::Day, Spread::Hour, Spread::Millisecond]
        .into_iter()
        .map(move |spread| Scenario { spread, ..scenario(rows, 20, None, &[(Contender::Generator, 1)]) })
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
        let (mut types, mut filters) = (vec![ExportType::MarketplacePayouts], vec![Filter::Off]);
        let (mut contenders, mut baseline) = (None, None);
        let mut runs = 3;
        let mut spread = Spread::Even;
        let (mut latency_ms, mut read_share) = (0, Some(100));
        let (mut time_limit_seconds, mut settings) = (TIME_LIMIT_SECONDS, Vec::new());
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
            custom |= !matches!(argument.as_str(), "--quick" | "--no-build");
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => quick = true,
                "--no-build" => builds = false,
                "--sizes" => sizes = list(&value()?, size)?,
                "--types" => types = list(&value()?, parsed)?,
                "--filter" => filters = list(&value()?, parsed)?,
                "--runs" => runs = parsed(&value()?)?,
                "--only" => contenders = Some(list(&value()?, parsed)?),
                "--baseline" => baseline = Some(PathBuf::from(value()?)),
                "--latency" => latency_ms = parsed(&value()?)?,
                "--read-share" => read_share = Some(parsed(&value()?)?),
                "--cpu-only" => read_share = None,
                "--spread" => spread = parsed(&value()?)?,
                "--time-limit" => time_limit_seconds = parsed(&value()?)?,
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
        let contenders: Vec<Contender> = contenders.unwrap_or_else(|| {
            if baseline.is_some() { vec![Contender::Generator, Contender::Baseline] } else { PEERS.to_vec() }
        });
        if contenders.contains(&Contender::Baseline) != baseline.is_some() {
            return Err("the contender baseline needs --baseline FILE, and the reverse".into());
        }
        let scenarios = if quick {
            let mut scenarios: Vec<_> = of_all_types(&cpu_bound(10_000, [3, 3, 3, 1])).collect();
            scenarios.push(cpu_bound(100_000, [3, 3, 3, 1]));
            scenarios.extend([limited(100_000, 100, [3, 1, 1, 1]), limited(100_000, 50, [1, 0, 0, 0])]);
            scenarios.extend(skewed_scenarios(100_000));
            scenarios
        } else if custom {
            let of = |rows: u64, export_type, filter| {
                let fits = |contender: &Contender| *contender != Contender::Python || rows <= MAX_FOR_PYTHON;
                let runs = contenders.iter().copied().filter(fits).map(|contender| (contender, runs)).collect();
                Scenario { export_type, filter, rows, spread, latency_ms, read_share, time_limit_seconds, runs }
            };
            let mut scenarios = Vec::new();
            for rows in sizes {
                for export_type in &types {
                    scenarios.extend(filters.iter().map(|filter| of(rows, *export_type, *filter)));
                }
            }
            scenarios
        } else {
            let mut scenarios = vec![
                cpu_bound(10_000, [7, 7, 7, 5]),
                cpu_bound(100_000, [5, 5, 5, 3]),
                cpu_bound(10_000_000, [3, 3, 1, 0]),
            ];
            scenarios.extend(of_all_types(&cpu_bound(1_000_000, [3, 3, 3, 1])));
            // Tables list the sizes in ascending order.
            scenarios.sort_by_key(|scenario| scenario.rows);
            let month = |scenario| Scenario { filter: Filter::Month, ..scenario };
            scenarios.push(month(cpu_bound(10_000_000, [3, 3, 3, 1])));
            scenarios.extend([
                limited(10_000, 100, [3, 3, 3, 3]),
                limited(1_000_000, 100, [3, 1, 1, 1]),
                limited(10_000_000, 100, [1, 0, 0, 0]),
                limited(10_000, 50, [3, 0, 0, 0]),
                limited(1_000_000, 50, [1, 0, 0, 0]),
                month(limited(10_000_000, 100, [1, 0, 0, 0])),
                month(limited(10_000_000, 50, [1, 0, 0, 0])),
            ]);
            scenarios.extend(skewed_scenarios(1_000_000));
            // The shortest time-out: more than 20 invocations for one export.
            let chain = scenario(5_000_000, 20, None, &[(Contender::Generator, 1)]);
            scenarios.push(Scenario { time_limit_seconds: 1, ..chain });
            scenarios
        };
        Ok(Some(Self { scenarios, is_full: !quick && !custom, builds, settings, baseline }))
    }
}

fn size(text: &str) -> Result<u64, Error> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1000),
        (_, Some(digits)) => (digits, 1_000_000),
        _ => (lower.as_str(), 1),
    };
    let size: u64 = parsed(digits)?;
    size.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| format!("invalid size: {text}").into())
}

fn list<T>(text: &str, element: impl Fn(&str) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    text.split(',').map(element).collect()
}

fn parsed<T: FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| format!("invalid value: {text}; see --help").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Option<Plan>, Error> {
        Plan::from_arguments(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn custom_benchmark_has_one_scenario_per_size() {
        let plan =
            plan("--sizes 5,2k,10M --runs 2 --only generator,python --latency 20 --spread hour --set A=b=c --cpu-only");
        let plan = plan.unwrap().unwrap();
        let sizes: Vec<_> = plan.scenarios.iter().map(|scenario| (scenario.rows, scenario.runs.len())).collect();
        assert_eq!(sizes, [(5, 2), (2000, 2), (10_000_000, 1)]);
        let title = "Marketplace payouts, latency only, 20 ms per page, 99 % in one hour";
        assert!(plan.scenarios.iter().all(|scenario| scenario.title() == title));
        assert_eq!((plan.is_full, plan.settings), (false, vec![("A".to_owned(), "b=c".to_owned())]));
    }

    #[test]
    fn custom_benchmark_has_one_scenario_per_type_and_filter() {
        let plan =
            plan("--types supplier-payouts,funding-transfers --filter off,values --baseline old --read-share 50")
                .unwrap()
                .unwrap();
        let titles: Vec<_> = plan.scenarios.iter().map(|scenario| scenario.title()).collect();
        let types = ["Supplier payouts", "Supplier payouts of one status and currency", "Funding transfers"];
        assert_eq!(titles[..3], types.map(|title| format!("{title}, one partition, share 50 %")));
        let runs = vec![(Contender::Generator, 3), (Contender::Baseline, 3)];
        assert!(plan.scenarios.len() == 4 && plan.scenarios.iter().all(|scenario| scenario.runs == runs));
    }

    #[test]
    fn full_and_quick_benchmarks_measure_all_types_with_and_without_a_filter() {
        for arguments in ["", "--quick"] {
            let plan = plan(arguments).unwrap().unwrap();
            assert_eq!(plan.is_full, arguments.is_empty());
            let has = |export_type, filter| {
                plan.scenarios.iter().any(|one| (one.export_type, one.filter) == (export_type, filter))
            };
            let has_both = |export_type| has(export_type, Filter::Off) && has(export_type, Filter::Values);
            assert!(ExportType::ALL.into_iter().all(has_both));
        }
    }

    #[test]
    fn custom_benchmark_is_at_the_limit_of_a_partition_unless_cpu_only() {
        let scenario = |arguments: &str| plan(arguments).unwrap().unwrap().scenarios[0].clone();
        let (limited, cpu_only) = (scenario("--runs 1"), scenario("--runs 1 --cpu-only"));
        assert!(limited.conditions().partition_limit && !limited.is_cpu_bound());
        assert!(!cpu_only.conditions().partition_limit && cpu_only.is_cpu_bound());
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        for arguments in [
            "--size 5",
            "--sizes 0",
            "--sizes",
            "--runs x",
            "--only me",
            "--only baseline",
            "--baseline old --only plain",
            "--types payouts",
            "--filter maybe",
            "--quick --runs 3",
            "5",
        ] {
            assert!(plan(arguments).is_err(), "{arguments}");
        }
        assert!(plan("--help").unwrap().is_none());
    }
}
