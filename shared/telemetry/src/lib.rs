//! Logs and metrics: one JSON object per line on standard output, which Lambda sends to CloudWatch Logs.
//!
//! This crate owns the log format, the names of the fields that identify a request, tenant or export, and the
//! [metrics](Metric). It must not know HTTP, and the only AWS format it knows is CloudWatch's embedded metric format.
//!
//! A log line has `timestamp`, `level`, `target`, `message` and the event's fields. `spans` lists the spans that
//! contain the event, outermost first: Lambda's invocation, then the [`request`]. A metric line has only the metric.

use std::error::Error;
use std::fmt;
use std::panic::PanicHookInfo;

use tracing::field::{Empty, Field, Visit, display};
use tracing::{Event, Level, Span, Subscriber, error, info, info_span};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

mod metrics;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use metrics::Metric;

const MAX_LEVEL: Level = Level::INFO;

/// The target of events that are metrics.
const METRICS_TARGET: &str = "metrics";

/// Logs to standard output from now on. Also logs each panic as one line, with its location.
pub fn init() {
    // Only a second call fails, and that one would install the same subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber(std::io::stdout));
    std::panic::set_hook(Box::new(log_panic));
}

/// The subscriber that [`init`] installs, with another writer.
pub fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let logs =
        tracing_subscriber::fmt::format().json().flatten_event(true).with_current_span(false).with_span_list(true);
    tracing_subscriber::fmt()
        .fmt_fields(JsonFields::new())
        .event_format(LineFormat { logs })
        .with_max_level(MAX_LEVEL)
        .with_writer(writer)
        .finish()
}

/// Emits a metric.
pub fn emit(metric: Metric<'_>) {
    info!(target: METRICS_TARGET, line = metric.line_now());
}

/// Formats metrics as their bare line, and all other events with `logs`.
struct LineFormat<F> {
    logs: F,
}

impl<S, N, F> FormatEvent<S, N> for LineFormat<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if event.metadata().target() != METRICS_TARGET {
            return self.logs.format_event(context, writer, event);
        }
        let mut visitor = MetricVisitor { writer, written: Ok(()) };
        event.record(&mut visitor);
        visitor.written
    }
}

/// Writes the only field of a metric event.
struct MetricVisitor<'a> {
    writer: Writer<'a>,
    written: fmt::Result,
}

impl Visit for MetricVisitor<'_> {
    fn record_str(&mut self, _: &Field, line: &str) {
        self.written = writeln!(self.writer, "{line}");
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The span of an HTTP request, a job message or a sweep. `id` is API Gateway's request ID, the message ID or the like.
#[must_use]
pub fn request(id: &str) -> Span {
    info_span!("request", requestId = id, tenantId = Empty, exportId = Empty, launchRequestId = Empty)
}

/// The span of one of several exports that an invocation works on.
#[must_use]
pub fn export(tenant: &impl fmt::Display, export: &impl fmt::Display) -> Span {
    info_span!("export", tenantId = %tenant, exportId = %export, launchRequestId = Empty)
}

/// Records the tenant in the current [`request`] span.
pub fn record_tenant(tenant: &impl fmt::Display) {
    Span::current().record("tenantId", display(tenant));
}

/// Records the export in the current [`request`] span.
pub fn record_export(export: &impl fmt::Display) {
    Span::current().record("exportId", display(export));
}

/// Records the id of the request that launched the export, if it is known, in the current [`request`] or [`export`]
/// span. It is in all log lines of an export, of whichever function.
pub fn record_launch(request_id: Option<&str>) {
    Span::current().record("launchRequestId", request_id);
}

/// Displays an error and its sources on one line: `could not read the export: timed out`.
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
    let message = panic.payload_as_str().unwrap_or("payload is not a string");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(location, "panicked: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Log;
    use serde_json::{Value, json};
    use tracing::{debug, info};

    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let (log, _guard) = Log::capture();
        work();
        log.lines()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("could not read the export")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn event_in_a_request_is_one_json_line_with_ids() {
        let lines = logged(|| {
            let _request = request("req-1").entered();
            record_tenant(&"acme");
            record_export(&"mpo_1");
            record_launch(None);
            record_launch(Some("req-0"));
            info!(rows = 7, "written\nso far");
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(
            (&line["level"], &line["message"], &line["rows"]),
            (&json!("INFO"), &json!("written\nso far"), &json!(7))
        );
        assert_eq!(
            line["spans"],
            json!([{
                "name": "request", "requestId": "req-1", "tenantId": "acme", "exportId": "mpo_1", "launchRequestId": "req-0",
            }])
        );
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn event_of_an_export_has_the_ids_of_both_spans() {
        let lines = logged(|| {
            let _request = request("req-1").entered();
            let _export = export(&"acme", &"mpo_1").entered();
            record_launch(Some("req-0"));
            info!("enqueued");
        });
        assert_eq!(
            lines[0]["spans"],
            json!([
                {"name": "request", "requestId": "req-1"},
                {"name": "export", "tenantId": "acme", "exportId": "mpo_1", "launchRequestId": "req-0"},
            ])
        );
    }

    #[test]
    fn event_below_the_level_is_not_logged() {
        assert_eq!(logged(|| debug!("detail")), [] as [Value; 0]);
    }

    #[test]
    fn metric_in_a_request_is_a_line_without_ids() {
        let lines = logged(|| {
            let _request = request("req-1").entered();
            record_tenant(&"acme");
            emit(Metric::Failed { export_type: "supplier-payouts", code: "FILE_TOO_LARGE" });
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["ExportsFailed"], &line["Code"]), (&json!(1), &json!("FILE_TOO_LARGE")));
        let names: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(names, ["Code", "ExportType", "ExportsFailed", "FunctionName", "_aws"]);
    }

    #[test]
    fn chain_displays_every_source() {
        let error = Outer(std::io::Error::other("timed out"));
        assert_eq!(Chain(&error).to_string(), "could not read the export: timed out");
    }

    #[test]
    fn panic_is_one_line_with_its_location() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let lines = logged(|| {
            let _ = std::panic::catch_unwind(|| panic!("no more {}", "room"));
        });
        std::panic::set_hook(before);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!("panicked: no more room")));
        assert!(line["location"].as_str().unwrap().contains("lib.rs:"));
    }
}
