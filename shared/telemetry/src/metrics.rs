//! Metrics in CloudWatch's embedded metric format (EMF): log lines from which CloudWatch extracts metrics, without an
//! API call.
//!
//! Namespace, dimensions, names and units are defined only here. `golden/metrics.jsonl` has one line per metric; tests
//! check the template's alarms and dashboard against it. CloudWatch bills each combination of dimension values as a
//! metric. So tenants and exports are not dimensions, and the export type is one only where it separates causes: not of
//! e-mails, nor of what a whole sweep did.
//!
//! Written by hand: the maintained crate, `metrics_cloudwatch_embedded` 0.10, writes one set of dimensions a line, where
//! failures have two, and needs a recorder that is flushed after each invocation.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

const NAMESPACE: &str = "PayoutsExport";

/// The dimension of every metric. The function's name includes the stack's, so the metrics of two stacks do not mix.
const FUNCTION: &str = "FunctionName";

/// The failure code of [`Metric::Failed`].
const CODE: &str = "Code";

/// The type of the export that a metric concerns.
const EXPORT_TYPE: &str = "ExportType";

/// The service objective: 99 % of the exports of up to this many rows are READY within [`OBJECTIVE_TIME`].
const OBJECTIVE_ROWS: u64 = 100_000;

/// The time from acceptance to READY that the service objective allows.
const OBJECTIVE_TIME: Duration = Duration::from_secs(120);

/// The value of [`FUNCTION`] in this process.
static FUNCTION_NAME: LazyLock<String> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "set by Lambda, not a setting")]
    std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "local".to_owned())
});

/// An event that is counted or measured.
#[derive(Clone, Copy, Debug)]
pub enum Metric<'a> {
    /// An export was accepted.
    Created {
        /// The export type's name in routes, such as `marketplace-payouts`.
        export_type: &'a str,
    },
    /// An export became READY for the first time.
    Ready {
        /// The export type's name in routes.
        export_type: &'a str,
        /// The time since acceptance.
        took: Duration,
        /// Rows in its file.
        rows: u64,
    },
    /// An export became FAILED.
    Failed {
        /// The export type's name in routes.
        export_type: &'a str,
        /// The failure code.
        code: &'a str,
    },
    /// A sweep completed.
    Swept {
        /// The age of the oldest PENDING export; zero without one. `None` if it could not be read, so that the
        /// alarm sees missing data.
        oldest_pending: Option<Duration>,
        /// Exports that were re-enqueued.
        re_enqueued: u64,
        /// Exports that became EXPIRED.
        expired: u64,
        /// Exports that could not be handled.
        errors: u64,
    },
    /// A job message failed, although the invocation itself succeeded.
    MessageFailed,
    /// SES accepted an e-mail.
    MailSent,
    /// SES rejected an e-mail permanently.
    MailRejected,
    /// The response to a request had status 500 or more.
    ServerError,
}

/// Name, unit and value of a number in a metric.
type Number = (&'static str, &'static str, Value);

impl Metric<'_> {
    fn numbers(self) -> Vec<Number> {
        let one = |name| vec![count(name, 1)];
        match self {
            Self::Created { .. } => one("ExportsCreated"),
            Self::Ready { took, rows, .. } => {
                let mut numbers =
                    vec![count("ExportsReady", 1), seconds("ExportDuration", took), count("ExportRows", rows)];
                if rows <= OBJECTIVE_ROWS {
                    // 0 or 1, so that the average is the share of late exports.
                    numbers.push(count("ExportsLate", u64::from(took > OBJECTIVE_TIME)));
                }
                numbers
            }
            Self::Failed { .. } => one("ExportsFailed"),
            Self::Swept { oldest_pending, re_enqueued, expired, errors } => {
                let counts = [
                    count("ExportsReEnqueued", re_enqueued),
                    count("ExportsExpired", expired),
                    count("SweepErrors", errors),
                ];
                let oldest = oldest_pending.map(|age| seconds("OldestPendingAge", age));
                counts.into_iter().chain(oldest).collect()
            }
            Self::MessageFailed => one("MessagesFailed"),
            Self::MailSent => one("MailsSent"),
            Self::MailRejected => one("MailsRejected"),
            Self::ServerError => one("HttpServerErrors"),
        }
    }

    /// The dimension sets, each of which is a metric in CloudWatch, and the values of the dimensions other than the function.
    fn dimensions(&self) -> (Vec<Vec<&'static str>>, Vec<(&'static str, &str)>) {
        match self {
            Self::Created { export_type } | Self::Ready { export_type, .. } => {
                (vec![vec![FUNCTION, EXPORT_TYPE]], vec![(EXPORT_TYPE, export_type)])
            }
            // Alarms watch the failures of all types, because an alarm can use only ten metrics.
            Self::Failed { export_type, code } => (
                vec![vec![FUNCTION, CODE], vec![FUNCTION, CODE, EXPORT_TYPE]],
                vec![(CODE, code), (EXPORT_TYPE, export_type)],
            ),
            Self::Swept { .. } | Self::MessageFailed | Self::MailSent | Self::MailRejected | Self::ServerError => {
                (vec![vec![FUNCTION]], vec![])
            }
        }
    }

    /// The EMF line, with `millis` since 1970 as its time.
    pub(crate) fn line(self, function: &str, millis: u128) -> String {
        let numbers = self.numbers();
        let metrics: Vec<Value> = numbers.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
        let mut line: Map<String, Value> =
            numbers.into_iter().map(|(name, _, number)| (name.to_owned(), number)).collect();
        line.insert(FUNCTION.to_owned(), function.into());
        let (sets, values) = self.dimensions();
        line.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics});
        line.insert("_aws".to_owned(), json!({"Timestamp": millis, "CloudWatchMetrics": [directive]}));
        Value::Object(line).to_string()
    }

    /// The EMF line for this process, at the current time.
    pub(crate) fn line_now(self) -> String {
        #[expect(clippy::disallowed_methods, reason = "log lines have the system time too, not the domain's clock")]
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.line(&FUNCTION_NAME, since_1970.as_millis())
    }
}

fn count(name: &'static str, count: u64) -> Number {
    (name, "Count", count.into())
}

fn seconds(name: &'static str, span: Duration) -> Number {
    (name, "Seconds", span.as_secs_f64().into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const TYPE: &str = "supplier-payouts";

    /// One of each, in the order of the golden file.
    const ALL: [Metric<'static>; 8] = [
        Metric::Created { export_type: TYPE },
        Metric::Ready { export_type: TYPE, took: Duration::from_millis(42_500), rows: 38_000 },
        Metric::Failed { export_type: TYPE, code: "DEADLINE_PASSED" },
        Metric::Swept { oldest_pending: Some(Duration::from_secs(90)), re_enqueued: 2, expired: 1, errors: 0 },
        Metric::MessageFailed,
        Metric::MailSent,
        Metric::MailRejected,
        Metric::ServerError,
    ];

    fn read(line: &str) -> Value {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn metric_lines_equal_the_golden_file() {
        let golden = include_str!("../golden/metrics.jsonl");
        let lines = ALL.map(|metric| read(&metric.line("stack-function", 1_791_417_601_000)));
        assert_eq!(lines.to_vec(), golden.lines().map(read).collect::<Vec<_>>());
    }

    /// Only a new process can have another environment: this test starts itself.
    #[test]
    fn metric_names_the_function_as_lambda_does() {
        const THIS: &str = "metrics::tests::metric_names_the_function_as_lambda_does";
        let line = Metric::MailSent.line_now();
        if std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some() {
            writeln!(std::io::stdout(), "{line}").unwrap();
            return;
        }
        assert_eq!(read(&line)["FunctionName"], "local");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([THIS, "--exact", "--nocapture"]).env("AWS_LAMBDA_FUNCTION_NAME", "stack-function");
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        assert!(output.contains(r#""FunctionName":"stack-function""#), "{output}");
    }

    #[test]
    fn metric_has_a_value_for_each_name_and_dimension() {
        for metric in ALL {
            let line = read(&metric.line_now());
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            for declared in directive["Metrics"].as_array().unwrap() {
                assert!(line[declared["Name"].as_str().unwrap()].is_number(), "{declared}");
            }
            for dimension in directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap())
            {
                assert!(
                    line[dimension.as_str().unwrap()].as_str().is_some_and(|value| !value.is_empty()),
                    "{dimension}"
                );
            }
            assert!(line["_aws"]["Timestamp"].is_u64());
        }
    }

    /// The value of `ExportsLate` of an export.
    fn late(rows: u64, took: Duration) -> Option<u64> {
        read(&Metric::Ready { export_type: TYPE, took, rows }.line_now())["ExportsLate"].as_u64()
    }

    #[test]
    fn export_of_100_000_rows_is_late_after_two_minutes() {
        assert_eq!(late(100_000, Duration::from_secs(120)), Some(0));
        assert_eq!(late(100_000, Duration::from_millis(120_001)), Some(1));
    }

    #[test]
    fn export_of_more_than_100_000_rows_is_never_late() {
        assert_eq!(late(100_001, Duration::from_secs(3600)), None);
    }

    #[test]
    fn unknown_oldest_pending_age_is_omitted() {
        let swept = Metric::Swept { oldest_pending: None, re_enqueued: 0, expired: 0, errors: 0 };
        assert!(!swept.line("f", 0).contains("OldestPendingAge"));
    }
}
