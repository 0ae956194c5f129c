//! What the functions tell their operators: logs and metrics, one JSON object a line, on standard output, where Lambda
//! collects them.
//!
//! This crate owns the form of the logs, the names of the fields that find one request, tenant or export in them, and
//! the [metrics](Metric). It must not know HTTP, and of AWS only how CloudWatch reads a metric.
//!
//! A line has `timestamp`, `level`, `target`, `message` and the event's own fields; under `spans` it has what it is part
//! of, outermost first: Lambda's invocation, then the [`request`]. A metric's line has nothing but the metric.

use std::error::Error;
use std::fmt;
use std::panic::PanicHookInfo;

use tracing::field::{Empty, Field, Visit, display};
use tracing::{Event, Level, Span, Subscriber, error, info, info_span};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

mod metrics;

pub use metrics::Metric;

/// The least important events that are logged.
const LEVEL: Level = Level::INFO;

/// The events that are metrics.
const METRICS: &str = "metrics";

/// Sends this process's logs to standard output. A panic becomes one line as well, with its place.
pub fn init() {
    // Only a second call fails, and the first one's subscriber does the same.
    let _ = tracing::subscriber::set_global_default(subscriber(std::io::stdout));
    std::panic::set_hook(Box::new(log_panic));
}

/// What [`init`] installs, for another writer.
pub fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let logs =
        tracing_subscriber::fmt::format().json().flatten_event(true).with_current_span(false).with_span_list(true);
    tracing_subscriber::fmt()
        .fmt_fields(JsonFields::new())
        .event_format(Lines { logs })
        .with_max_level(LEVEL)
        .with_writer(writer)
        .finish()
}

/// Tells a metric.
pub fn measure(metric: Metric<'_>) {
    info!(target: METRICS, line = metric.line_now());
}

/// Writes metrics as they are, and all other events as `logs` does.
struct Lines<F> {
    logs: F,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if event.metadata().target() != METRICS {
            return self.logs.format_event(context, writer, event);
        }
        let mut line = MetricLine { writer, written: Ok(()) };
        event.record(&mut line);
        line.written
    }
}

/// The one field of a metric's event, on its way out.
struct MetricLine<'a> {
    writer: Writer<'a>,
    written: fmt::Result,
}

impl Visit for MetricLine<'_> {
    fn record_str(&mut self, _: &Field, line: &str) {
        self.written = writeln!(self.writer, "{line}");
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The span of one piece of work: an HTTP request, a message, a sweep. `id` is the one that its sender knows it by.
#[must_use]
pub fn request(id: &str) -> Span {
    info_span!("request", requestId = id, tenantId = Empty, exportId = Empty)
}

/// The current [`request`] is this tenant's.
pub fn note_tenant(tenant: &impl fmt::Display) {
    Span::current().record("tenantId", display(tenant));
}

/// The current [`request`] is about this export.
pub fn note_export(export: &impl fmt::Display) {
    Span::current().record("exportId", display(export));
}

/// An error and everything it came from, on one line: `could not read the export: timed out`.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("of another type than text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(place, "panicked: {message}");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use serde_json::{Value, json};
    use tracing::{debug, info};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn lines(&self) -> Vec<Value> {
            let bytes = self.0.lock().unwrap();
            str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let log = Log::default();
        let writer = log.clone();
        tracing::subscriber::with_default(subscriber(move || writer.clone()), work);
        log.lines()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("could not read the export")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn event_in_a_request_is_one_json_line_with_its_ids() {
        let lines = logged(|| {
            let _request = request("req-1").entered();
            note_tenant(&"acme");
            note_export(&"mpo_1");
            info!(rows = 7, "written\nso far");
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(
            (&line["level"], &line["message"], &line["rows"]),
            (&json!("INFO"), &json!("written\nso far"), &json!(7))
        );
        assert_eq!(
            line["spans"],
            json!([{"name": "request", "requestId": "req-1", "tenantId": "acme", "exportId": "mpo_1"}])
        );
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn event_below_the_level_is_not_logged() {
        assert_eq!(logged(|| debug!("detail")), [] as [Value; 0]);
    }

    #[test]
    fn metric_in_a_request_is_a_line_of_its_own_without_its_ids() {
        let lines = logged(|| {
            let _request = request("req-1").entered();
            note_tenant(&"acme");
            measure(Metric::Failed { code: "FILE_TOO_LARGE" });
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["ExportsFailed"], &line["Code"]), (&json!(1), &json!("FILE_TOO_LARGE")));
        let names: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(names, ["Code", "ExportsFailed", "FunctionName", "_aws"]);
    }

    #[test]
    fn chain_names_every_cause() {
        let error = Outer(std::io::Error::other("timed out"));
        assert_eq!(Chain(&error).to_string(), "could not read the export: timed out");
    }

    #[test]
    fn panic_is_one_line_with_its_place() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let lines = logged(|| {
            let _ = std::panic::catch_unwind(|| panic!("no more {}", "room"));
        });
        std::panic::set_hook(before);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!("panicked: no more room")));
        assert!(line["place"].as_str().unwrap().contains("lib.rs:"));
    }
}
