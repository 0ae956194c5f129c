//! What is counted and measured, in CloudWatch's embedded metric format: a metric is a line of the log, which CloudWatch
//! reads, so that it costs no call.
//!
//! Namespace, dimensions, names and units are stated here and nowhere else; `golden/metrics.jsonl` has a line of each,
//! to which the template's alarms and dashboard are held. A metric names neither tenants nor exports: each value of a
//! dimension is a metric of its own, and is paid for.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

/// All metrics of all functions.
const NAMESPACE: &str = "PayoutsExport";

/// The dimension that every metric has. Its value has the stack in it, so that two in an account do not mix.
const FUNCTION: &str = "FunctionName";

/// The second dimension of failures.
const CODE: &str = "Code";

/// Under which name this process's metrics go. Outside Lambda one that no alarm looks at.
static FUNCTION_NAME: LazyLock<String> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "Lambda sets it, it is no setting of ours")]
    std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "local".to_owned())
});

/// Something that happened and counts.
#[derive(Clone, Copy, Debug)]
pub enum Metric<'a> {
    /// An export was accepted.
    Created,
    /// An export became ready for the first time.
    Ready {
        /// The time since it was accepted.
        took: Duration,
        /// How many payouts its file has.
        rows: u64,
    },
    /// An export ended as failed.
    Failed {
        /// The code of the failure.
        code: &'a str,
    },
    /// A sweep came to its end.
    Swept {
        /// The age of the oldest export that is still pending, zero if there is none. None if that could not be read:
        /// then the alarm is to miss it.
        oldest_pending: Option<Duration>,
        /// How many exports it rang for again.
        re_enqueued: u64,
        /// How many exports it found expired.
        expired: u64,
        /// How many exports it could not deal with.
        errors: u64,
    },
    /// The mail service accepted a mail.
    MailSent,
    /// The mail service refused a mail for good.
    MailRefused,
    /// A request was answered with a status of 500 or more.
    ServerError,
}

/// One number of a metric, with its name and unit.
type Number = (&'static str, &'static str, Value);

impl Metric<'_> {
    fn numbers(self) -> Vec<Number> {
        let one = |name| vec![count(name, 1)];
        match self {
            Self::Created => one("ExportsCreated"),
            Self::Ready { took, rows } => {
                vec![count("ExportsReady", 1), seconds("ExportDuration", took), count("ExportRows", rows)]
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
            Self::MailSent => one("MailsSent"),
            Self::MailRefused => one("MailsRefused"),
            Self::ServerError => one("HttpServerErrors"),
        }
    }

    /// The line that tells this metric.
    pub(crate) fn line(self, function: &str, millis: u128) -> String {
        let numbers = self.numbers();
        let metrics: Vec<Value> = numbers.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
        let mut line: Map<String, Value> =
            numbers.into_iter().map(|(name, _, number)| (name.to_owned(), number)).collect();
        line.insert(FUNCTION.to_owned(), function.into());
        // Each list is a metric of its own: the failures of a function, and those by their code.
        let mut dimensions = vec![vec![FUNCTION]];
        if let Self::Failed { code } = self {
            line.insert(CODE.to_owned(), code.into());
            dimensions.push(vec![FUNCTION, CODE]);
        }
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics});
        line.insert("_aws".to_owned(), json!({"Timestamp": millis, "CloudWatchMetrics": [directive]}));
        Value::Object(line).to_string()
    }

    /// The line that tells this metric of this process, now.
    pub(crate) fn line_now(self) -> String {
        #[expect(
            clippy::disallowed_methods,
            reason = "a metric is stamped as a log line is, whatever the domain's clock"
        )]
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
    use super::*;

    /// One of each kind, in the order of the golden lines.
    const ALL: [Metric<'static>; 7] = [
        Metric::Created,
        Metric::Ready { took: Duration::from_millis(42_500), rows: 380_000 },
        Metric::Failed { code: "DEADLINE_PASSED" },
        Metric::Swept { oldest_pending: Some(Duration::from_secs(90)), re_enqueued: 2, expired: 1, errors: 0 },
        Metric::MailSent,
        Metric::MailRefused,
        Metric::ServerError,
    ];

    fn read(line: &str) -> Value {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn metric_is_a_line_as_the_alarms_know_it() {
        let golden = include_str!("../golden/metrics.jsonl");
        let lines = ALL.map(|metric| read(&metric.line("stack-function", 1_791_417_601_000)));
        assert_eq!(lines.to_vec(), golden.lines().map(read).collect::<Vec<_>>());
    }

    #[test]
    fn metric_has_a_value_for_each_name_and_dimension_that_it_declares() {
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

    #[test]
    fn age_that_could_not_be_read_is_left_out() {
        let swept = Metric::Swept { oldest_pending: None, re_enqueued: 0, expired: 0, errors: 0 };
        assert!(!swept.line("f", 0).contains("OldestPendingAge"));
    }
}
