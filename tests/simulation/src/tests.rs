use super::*;

/// Enough for most failures. `tests/run simulation` runs many more, from fresh seeds.
const HISTORIES: u64 = 200;

#[test]
fn histories_violate_nothing() {
    for seed in 0..HISTORIES {
        let violations = run(Choices::random(seed), None, false).violations;
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

#[test]
fn seed_determines_the_history() {
    for seed in 0..HISTORIES / 4 {
        let [first, again] = [(); 2].map(|()| run(Choices::random(seed), None, false));
        assert_eq!((first.digest, &first.choices), (again.digest, &again.choices), "seed {seed}");
        let replayed = run(Choices::of(first.choices), None, true);
        assert_eq!(replayed.digest, first.digest, "seed {seed}, replayed");
    }
}

#[test]
fn failing_history_is_made_smaller() {
    let (number, violation) = find(Broken::LockRelease, 100).unwrap();
    let choices = run(Choices::random(number - 1), Some(Broken::LockRelease), false).choices;
    let smaller = smaller(choices.clone(), Some(Broken::LockRelease));
    let outcome = run(Choices::of(smaller.clone()), Some(Broken::LockRelease), true);
    assert!(smaller.len() * 2 < choices.len(), "{} of {} choices", smaller.len(), choices.len());
    assert_eq!(outcome.violations[0].split(':').next(), violation.split(':').next());
    assert!(outcome.lines.iter().any(|line| line.contains("create-export")), "{:?}", outcome.lines);
}

#[test]
fn every_safeguard_is_in_the_table() {
    let table = include_str!("../results/safeguards.md");
    let missing: Vec<_> = Broken::ALL.iter().filter(|broken| !table.contains(&format!("| {broken:?} |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
