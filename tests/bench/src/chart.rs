//! The generator benchmark as an SVG chart: speed, CPU time and memory by size.
//!
//! Written without a library: it is only three panels of lines, and the colours follow the reader's light or dark
//! theme.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::plan::Scenario;
use crate::report::Report;

const WIDTH: f64 = 1100.0;
const HEIGHT: f64 = 380.0;
const PANEL: f64 = 310.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 330.0;
const LEFTS: [f64; 3] = [60.0, 430.0, 800.0];

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#57606a}\
.title{font-weight:600;font-size:15px;fill:#24292f}\
.grid{stroke:#d0d7de;stroke-width:1}\
.line{fill:none;stroke-width:2.5}\
.generator{stroke:#0969da;fill:#0969da}.floor{stroke:#6e7781;fill:#6e7781}\
.baseline{stroke:#8250df;fill:#8250df}.plain{stroke:#bc4c00;fill:#bc4c00}.python{stroke:#1a7f37;fill:#1a7f37}\
.line.generator,.line.baseline,.line.floor,.line.plain,.line.python{fill:none}\
@media(prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#f0f6fc}.grid{stroke:#3d444d}\
.generator{stroke:#4493f8;fill:#4493f8}.floor{stroke:#9198a1;fill:#9198a1}\
.baseline{stroke:#ab7df8;fill:#ab7df8}.plain{stroke:#db6d28;fill:#db6d28}.python{stroke:#3fb950;fill:#3fb950}}";

/// A panel of the chart.
struct Panel<'a> {
    left: f64,
    title: &'a str,
    points: Vec<(Contender, u64, f64)>,
    ticks: Vec<f64>,
    /// Maps a value to 0..1.
    scale: &'a dyn Fn(f64) -> f64,
}

/// The chart of a report, or `None` if it has fewer than two sizes.
#[must_use]
pub fn draw(report: &Report) -> Option<String> {
    let is_shown = |scenario: &Scenario| scenario.is_of_main_type() && scenario.is_cpu_bound();
    let costs: Vec<_> = report.results.iter().filter(|measured| is_shown(&measured.scenario)).collect();
    let mut sizes: Vec<u64> = costs.iter().map(|measured| measured.scenario.rows).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < 2 {
        return None;
    }
    let points = |value: &dyn Fn(&crate::report::ContenderSummary) -> f64| {
        costs.iter().map(|measured| (measured.contender, measured.scenario.rows, value(measured))).collect::<Vec<_>>()
    };
    let speeds = points(&|measured| rows_a_second(measured.scenario.rows, measured.wall_seconds));
    let costs_of_rows = points(&|measured| measured.rows_per_cpu_second);
    let memory = points(&|measured| measured.peak_mib);
    // The same scale for both panels, so that they can be compared.
    let rates = || speeds.iter().chain(&costs_of_rows).map(|point| point.2.log10());
    let lowest = rates().fold(f64::MAX, f64::min).floor();
    let highest = rates().fold(f64::MIN, f64::max).ceil();
    let by_decade = |value: f64| (value.log10() - lowest) / (highest - lowest).max(1.0);
    let decades: Vec<_> = steps(lowest, highest, 1.0).into_iter().map(|decade| 10_f64.powf(decade)).collect();
    let most = memory.iter().map(|point| point.2).fold(1.0, f64::max);
    let step = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0].into_iter().find(|step| step * 6.0 >= most);
    let step = step.unwrap_or(most / 5.0);
    let top = (most / step).ceil() * step;
    let by_size = |value: f64| value / top;
    let [first, second, third] = LEFTS;
    let panels = [
        Panel {
            left: first,
            title: "Rows per second",
            points: speeds.clone(),
            ticks: decades.clone(),
            scale: &by_decade,
        },
        Panel {
            left: second,
            title: "Rows per CPU second",
            points: costs_of_rows.clone(),
            ticks: decades,
            scale: &by_decade,
        },
        Panel { left: third, title: "Peak memory, MiB", points: memory, ticks: steps(0.0, top, step), scale: &by_size },
    ];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
         <title>generate-export compared with its peers: rows per second, rows per CPU second and peak memory by number of rows</title>\
         <style>{STYLE}</style>\n"
    );
    let mut at = first;
    for contender in Contender::ALL.iter().filter(|one| costs.iter().any(|measured| measured.contender == **one)) {
        let name = contender.as_str();
        let _ = writeln!(svg, "<circle class=\"{name}\" cx=\"{at}\" cy=\"22\" r=\"5\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"27\">{}</text>", at + 12.0, contender.title());
        at += 150.0;
    }
    for panel in &panels {
        panel.draw(&sizes, &mut svg);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn rows_a_second(rows: u64, seconds: f64) -> f64 {
    rows as f64 / seconds
}

/// The numbers from `first` to `last`, `step` apart.
fn steps(first: f64, last: f64, step: f64) -> Vec<f64> {
    std::iter::successors(Some(first), |at| Some(at + step)).take_while(|at| *at <= last + step / 2.0).collect()
}

impl Panel<'_> {
    fn draw(&self, sizes: &[u64], svg: &mut String) {
        let right = self.left + PANEL - 30.0;
        let _ = writeln!(svg, "<text class=\"title\" x=\"{}\" y=\"62\">{}</text>", self.left, self.title);
        for tick in &self.ticks {
            let y = self.y(*tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{} {y:.1}H{right}\"/><text text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                self.left,
                self.left - 8.0,
                y + 4.0,
                short(*tick)
            );
        }
        let x = |rows: u64| {
            let first = sizes.first().copied().unwrap_or(1);
            let last = sizes.last().copied().unwrap_or(1);
            let along = rows_a_second(rows, 1.0).log10() - rows_a_second(first, 1.0).log10();
            let all = rows_a_second(last, 1.0).log10() - rows_a_second(first, 1.0).log10();
            self.left + 20.0 + along / all * (PANEL - 70.0)
        };
        for size in sizes {
            let label = short(rows_a_second(*size, 1.0));
            let _ = writeln!(
                svg,
                "<text text-anchor=\"middle\" x=\"{:.1}\" y=\"{}\">{label}</text>",
                x(*size),
                BOTTOM + 22.0
            );
        }
        let _ = writeln!(svg, "<text text-anchor=\"end\" x=\"{right}\" y=\"{}\">rows</text>", BOTTOM + 42.0);
        // The product's line is drawn last, over the others.
        for contender in Contender::ALL.iter().rev() {
            let name = contender.as_str();
            let points: Vec<_> = self
                .points
                .iter()
                .filter(|point| point.0 == *contender)
                .map(|(_, rows, value)| (x(*rows), self.y(*value)))
                .collect();
            let line: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(svg, "<polyline class=\"line {name}\" points=\"{}\"/>", line.join(" "));
            for (x, y) in points {
                let _ = writeln!(svg, "<circle class=\"{name}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
            }
        }
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (self.scale)(value) * (BOTTOM - TOP)
    }
}

/// `10000` as `10 k`.
fn short(number: f64) -> String {
    if number >= 1e6 {
        format!("{} M", number / 1e6)
    } else if number >= 1e3 {
        format!("{} k", number / 1e3)
    } else {
        format!("{number}")
    }
}
