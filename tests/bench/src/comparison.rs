//! Compares generate-export with an earlier build of it, the baseline, run by run.
//!
//! The two take turns, so other load on the machine affects both runs of a pair. The ratio is the geometric mean of the
//! pairs' ratios. Its 95 % interval is Student's t interval of their logarithms.

use serde::Serialize;

use crate::contender::{Contender, Sample};
use crate::plan::Scenario;
use crate::report::{ContenderSummary, thousands};

/// The loss that the interval must exclude.
const LOSS: f64 = 0.03;

/// The 97.5 % quantiles of Student's t distribution with 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook of
/// Statistical Methods, 1.3.6.7.2).
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The ratio of a measure of generate-export to that of the baseline, in one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The scenario.
    #[serde(flatten)]
    pub scenario: Scenario,
    /// Name of the measure.
    pub measure: &'static str,
    /// Number of pairs of runs.
    pub pairs: usize,
    /// The ratio.
    #[serde(flatten)]
    pub ratio: Ratio,
    /// Whether the interval excludes a loss of 3 %.
    pub excludes_loss: bool,
}

/// A mean ratio and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The geometric mean.
    pub ratio: f64,
    /// The lower bound; 0 for a single pair.
    pub low: f64,
    /// The upper bound; `None` for a single pair.
    pub high: Option<f64>,
}

impl Ratio {
    fn of(pairs: &[f64]) -> Self {
        let count = pairs.len() as f64;
        let mean = pairs.iter().map(|ratio| ratio.ln()).sum::<f64>() / count;
        let Some(freedom) = pairs.len().checked_sub(2) else { return Self { ratio: mean.exp(), low: 0.0, high: None } };
        let variance = pairs.iter().map(|ratio| (ratio.ln() - mean).powi(2)).sum::<f64>() / (count - 1.0);
        // The last quantile is larger than those of more degrees of freedom.
        let [.., last] = STUDENT;
        let half = STUDENT.get(freedom).unwrap_or(&last) * (variance / count).sqrt();
        Self { ratio: mean.exp(), low: (mean - half).exp(), high: Some((mean + half).exp()) }
    }
}

/// The comparisons of all scenarios in which the baseline ran.
#[must_use]
pub fn comparisons(results: &[ContenderSummary]) -> Vec<Comparison> {
    let of = |contender| results.iter().filter(move |result| result.contender == contender);
    let mut comparisons = Vec::new();
    for baseline in of(Contender::Baseline) {
        let Some(ours) = of(Contender::Generator).find(|ours| ours.scenario == baseline.scenario) else { continue };
        let mut compare = |measure, value: fn(&Sample) -> f64, more_is_better: bool| {
            let pairs: Vec<_> = ours.runs.iter().zip(&baseline.runs).map(|(a, b)| value(a) / value(b)).collect();
            let ratio = Ratio::of(&pairs);
            let excludes_loss =
                if more_is_better { ratio.low > 1.0 - LOSS } else { ratio.high.is_some_and(|high| high < 1.0 + LOSS) };
            let scenario = ours.scenario.clone();
            comparisons.push(Comparison { scenario, measure, pairs: pairs.len(), ratio, excludes_loss });
        };
        compare("rows per CPU second", |run| 1.0 / run.cpu_seconds, true);
        compare("peak memory", |run| run.peak_kib as f64, false);
    }
    comparisons
}

/// The columns of [`Comparison::row`].
pub const COLUMNS: [&str; 7] = ["rows", "scenario", "measure", "ratio", "95 % interval", "pairs", "loss of 3 %"];

impl Comparison {
    /// The row of the report's table.
    #[must_use]
    pub fn row(&self) -> [String; 7] {
        let Ratio { ratio, low, high } = self.ratio;
        [
            thousands(self.scenario.rows),
            self.scenario.title(),
            self.measure.to_owned(),
            format!("{ratio:.3}"),
            high.map(|high| format!("{low:.3} to {high:.3}")).unwrap_or_default(),
            self.pairs.to_string(),
            if self.excludes_loss { "excluded" } else { "NOT EXCLUDED" }.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measured;

    #[test]
    fn interval_is_that_of_the_paired_logarithms() {
        // exp(0.1 ± 2.776 × 0.1581 / √5), by hand.
        let Ratio { ratio, low, high } = Ratio::of(&[-0.1_f64, 0.0, 0.1, 0.2, 0.3].map(f64::exp));
        let errors = [ratio - 1.1052, low - 0.9082, high.unwrap() - 1.3449];
        assert!(errors.iter().all(|error| error.abs() < 1e-4), "{ratio} {low} {high:?}");
        assert_eq!(Ratio::of(&[2.0]).high, None);
        let many = Ratio::of(&[[0.9, 1.2]; 100].concat());
        assert!((many.low, many.high) > (1.0, Some(1.0)) && many.low < many.ratio, "{many:?}");
    }

    #[test]
    fn loss_is_excluded_only_by_the_whole_interval() {
        let baseline = [1.0, 2.0, 4.0];
        for (seconds, excludes_loss) in
            [([1.0, 2.0, 4.0], true), ([0.8, 1.6, 3.1], true), ([1.05, 2.1, 4.2], false), ([0.8, 2.0, 5.0], false)]
        {
            let results = [
                measured(Contender::Generator, 1000, 0, &seconds),
                measured(Contender::Baseline, 1000, 0, &baseline),
                measured(Contender::Baseline, 2000, 0, &baseline),
            ];
            let compared: Vec<_> =
                comparisons(&results).iter().map(|one| (one.measure, one.excludes_loss, one.pairs)).collect();
            assert_eq!(compared, [("rows per CPU second", excludes_loss, 3), ("peak memory", true, 3)], "{seconds:?}");
        }
    }
}
