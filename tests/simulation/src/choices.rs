//! The choices that make a history: random from a seed, or a list that is replayed.
//!
//! Every choice is a number, and 0 is always the dullest: no failure, the shortest delay, nothing more to do. So a failing
//! list of choices is made smaller by deleting numbers and lowering them.

/// Where choices come from, and those made so far.
#[derive(Debug)]
pub struct Choices {
    source: Source,
    made: Vec<u32>,
}

#[derive(Debug)]
enum Source {
    Random(fastrand::Rng),
    List(std::vec::IntoIter<u32>),
}

impl Choices {
    /// Random choices that this seed determines.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        Self { source: Source::Random(fastrand::Rng::with_seed(seed)), made: Vec::new() }
    }

    /// These choices, then the dullest ones.
    #[must_use]
    pub fn of(list: Vec<u32>) -> Self {
        Self { source: Source::List(list.into_iter()), made: Vec::new() }
    }

    /// The choices made so far.
    #[must_use]
    pub fn into_made(self) -> Vec<u32> {
        self.made
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        let choice = match &mut self.source {
            Source::Random(random) => random.u32(0..end.max(1)),
            Source::List(list) => list.next().unwrap_or_default().min(end.saturating_sub(1)),
        };
        self.made.push(choice);
        choice
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn chance(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && self.below(1000) >= 1000 - in_a_thousand
    }

    /// One of these; the first is the dullest.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(u32::try_from(of.len()).unwrap()) as usize]
    }
}
