use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use exports_domain::export_type::ExportType;
use exports_domain::ports::RowKey;
use exports_domain::testing::conformance;

use super::*;
use crate::ports::PORTS;
use crate::rows::{SAMPLES, index_of};
use crate::world::{Event, Process, TENANTS, World, replace, with};

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
    let (number, violation) = find(Broken::LockRelease, 1, 100).unwrap();
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

/// Runs calls without failures, and nothing else.
fn run_calls(world: World, calls: impl Future<Output = ()>) {
    replace(Some(world));
    with(|world| {
        world.has_failures = false;
        world.processes.push(Process {
            name: "test",
            skew: 0,
            is_alive: true,
            frozen_until: 0,
            subject: None,
            export: None,
            is_excused: false,
            operation: None,
        });
    });
    let mut calls = pin!(calls);
    let done = poll_fn(|context| {
        while calls.as_mut().poll(context).is_pending() {
            with(|world| {
                world.now = world.next_event_at().unwrap();
                match world.due_event().unwrap() {
                    Event::Effect(call) => world.take_effect(call),
                    Event::Respond(call, error) => world.respond(call, error),
                    other => unreachable!("{other:?}"),
                }
            });
        }
        Poll::Ready(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(tokio::task::unconstrained(done));
    replace(None);
}

#[test]
fn simulated_stores_behave_as_their_ports_promise() {
    let export_type = ExportType::MarketplacePayouts;
    let of = index_of(export_type);
    let mut world = World::new(Choices::of(Vec::new()), None, false);
    let part_size = world.config.part_size;
    let tenants = [(0, 0..8), (1, 5..10)].map(|(tenant, numbers)| {
        let put = |number| {
            world.tables.get_mut(&(tenant, of)).unwrap().put(number, 0, 0);
            RowKey(SAMPLES[of][number].key.clone())
        };
        (TENANTS[tenant].parse().unwrap(), numbers.map(put).collect::<BTreeSet<_>>())
    });
    run_calls(world, async {
        conformance::file_store(&PORTS, part_size).await;
        conformance::export_store(&PORTS).await;
        conformance::api_key_store(&PORTS).await;
        conformance::row_source(&PORTS, export_type, &tenants).await;
    });
}
