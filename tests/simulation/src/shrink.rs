//! Searches for a smaller history that fails, too.

use crate::broken::Broken;
use crate::choices::Choices;
use crate::run::run;

/// How many histories are run.
const ATTEMPTS: usize = 3000;

/// A shorter list of choices, or one of lower choices, whose history fails like the one that these make.
#[must_use]
pub fn smaller(choices: Vec<u32>, broken: Option<Broken>) -> Vec<u32> {
    let Some(kind) = kind(&choices, broken) else { return choices };
    let mut search = Search { best: choices, kind, broken, attempts: ATTEMPTS };
    loop {
        let before = search.best.clone();
        let mut size = search.best.len() / 2;
        while size > 0 {
            search.delete(size);
            search.change(size, |_| 0);
            size /= 2;
        }
        search.change(1, |choice| choice / 2);
        search.change(1, |choice| choice - 1);
        if search.best == before || search.attempts == 0 {
            return search.best;
        }
    }
}

/// The violation, without its subject.
fn kind(choices: &[u32], broken: Option<Broken>) -> Option<String> {
    let outcome = run(Choices::of(choices.to_vec()), broken, false);
    outcome.violations.first().map(|violation| violation.split([':', ' ']).next().unwrap_or_default().to_owned())
}

struct Search {
    best: Vec<u32>,
    kind: String,
    broken: Option<Broken>,
    attempts: usize,
}

impl Search {
    fn attempt(&mut self, choices: Vec<u32>) -> bool {
        self.attempts = self.attempts.saturating_sub(1);
        let fails = self.attempts > 0 && kind(&choices, self.broken).is_some_and(|kind| kind == self.kind);
        if fails {
            self.best = choices;
        }
        fails
    }

    fn delete(&mut self, size: usize) {
        let mut at = 0;
        while at < self.best.len() {
            let mut shorter = self.best.clone();
            shorter.drain(at..(at + size).min(self.best.len()));
            if !self.attempt(shorter) {
                at += size;
            }
        }
    }

    fn change(&mut self, size: usize, change: fn(u32) -> u32) {
        for at in (0..self.best.len()).step_by(size) {
            let mut lower = self.best.clone();
            let end = (at + size).min(lower.len());
            lower[at..end].iter_mut().filter(|choice| **choice > 0).for_each(|choice| *choice = change(*choice));
            if lower != self.best {
                self.attempt(lower);
            }
        }
    }
}
