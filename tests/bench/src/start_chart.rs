//! The start benchmark as an SVG chart: cold starts and warm requests of the routes that have peers.
//!
//! The scale is logarithmic; otherwise the shortest bar would be invisible.

use std::fmt::Write as _;

use crate::start::Implementation;
use crate::start_report::{StartReport, StartSummary};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 800.0;
const BAR: f64 = 18.0;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#57606a}\
.title{font-weight:600;font-size:15px;fill:#24292f}\
.function{fill:#0969da}.plain{fill:#bc4c00}.node{fill:#8250df}.python{fill:#1a7f37}\
@media(prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#f0f6fc}\
.function{fill:#4493f8}.plain{fill:#db6d28}.node{fill:#ab7df8}.python{fill:#3fb950}}";

/// A panel of the chart: the title, and a value per implementation.
type Panel<'a> = (String, Vec<(&'a StartSummary, f64)>);

/// The chart of a report, or `None` if it has no peers.
#[must_use]
pub fn draw(report: &StartReport) -> Option<String> {
    let functions = ["create-export", "list-exports", "get-export"];
    let of = |function: &str, value: &dyn Fn(&StartSummary) -> Option<f64>| {
        let all = report.results.iter().filter(|started| started.function == function);
        all.filter_map(|started| Some((started, value(started)?))).collect::<Vec<_>>()
    };
    let starts = functions.map(|function| {
        (format!("{function}: init and first request, CPU ms"), of(function, &|started| Some(started.start_cpu_ms)))
    });
    let warm_requests = functions.map(|function| {
        let cpu = |started: &StartSummary| started.warm.as_ref().map(|warm| warm.cpu_ms);
        (format!("{function}: a warm request, CPU ms"), of(function, &cpu))
    });
    let panels: Vec<Panel<'_>> = starts.into_iter().chain(warm_requests).filter(|(_, bars)| bars.len() > 1).collect();
    if panels.is_empty() {
        return None;
    }
    let mut body = String::new();
    let mut top = 30.0;
    for (title, bars) in &panels {
        let _ = writeln!(body, "<text class=\"title\" x=\"{LEFT}\" y=\"{top}\">{title}</text>");
        top += 10.0;
        let least = bars.iter().map(|(_, value)| *value).fold(f64::MAX, f64::min);
        let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN, f64::max);
        for (started, value) in bars {
            let decades = (most / least).log10() + 0.5;
            let width = ((value / least).log10() + 0.5) / decades * (RIGHT - LEFT);
            let middle = top + BAR - 4.0;
            let name = match started.implementation {
                Implementation::Function => "function",
                Implementation::Plain => "plain",
                Implementation::Node => "node",
                Implementation::Python => "python",
            };
            let _ = writeln!(
                body,
                "<text text-anchor=\"end\" x=\"{}\" y=\"{middle}\">{}</text>\
                 <rect class=\"{name}\" x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{middle}\">{}</text>",
                LEFT - 8.0,
                started.implementation.title(),
                LEFT + width + 6.0,
                if *value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") },
            );
            top += BAR + 4.0;
        }
        top += 34.0;
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" role=\"img\">\
         <title>CPU time of cold starts and warm requests compared with peers, logarithmic</title>\
         <style>{STYLE}</style>\n{body}</svg>\n"
    ))
}
