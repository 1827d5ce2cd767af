//! Seeds that run with every change, a seed that runs twice, and planted bugs that have to be found.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on should stop, and prints why"
)]

use std::{
    fmt::Write as _,
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    bugs::Bug,
    record::{Outcome, Totals},
    simulate,
};

/// Seeds of a normal run.
const SEEDS: u64 = 500;

/// The number of failed seeds after which the others are not tried.
const MOST_FAILURES: usize = 20;

/// The longest search for a planted bug.
const FOUND_WITHIN: Duration = Duration::from_mins(10);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// The result of a range of seeds.
#[derive(Default)]
struct Found {
    totals: Totals,
    /// Failed seeds, with the reasons.
    failures: Vec<(u64, String)>,
}

/// Runs seeds on all processors, and writes to a file up to which seed all have been run.
fn run(seeds: std::ops::Range<u64>, progress: Option<&str>) -> Found {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::<Found>::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || found.lock().unwrap().failures.len() >= MOST_FAILURES {
                return;
            }
            let Outcome { failure, totals, .. } = simulate(seed, None);
            let mut found = found.lock().unwrap();
            found.totals.add(&totals);
            found.failures.extend(failure.map(|failure| (seed, failure)));
            drop(found);
            if let Some(progress) = progress.filter(|_| seed.is_multiple_of(100)) {
                // The other threads may be some seeds behind.
                std::fs::write(progress, format!("{}\n", seed.saturating_sub(100))).unwrap();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap()
}

/// Prints the history of a seed.
fn history(seed: u64) -> String {
    let outcome = simulate(seed, None);
    let mut text = format!("the history of seed {seed}:\n");
    for line in &outcome.lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Guards all invariants, whatever fails and whenever.
#[test]
fn the_invariants_hold_in_every_history() {
    if let Some(seed) = number("DB_LOCKS_SIMULATION_SEED") {
        eprintln!("{}", history(seed));
        assert_eq!(simulate(seed, None).failure, None, "seed {seed}");
        return;
    }
    let first = number("DB_LOCKS_SIMULATION_FIRST").unwrap_or(0);
    let count = number("DB_LOCKS_SIMULATION_COUNT").unwrap_or(SEEDS);
    let progress = std::env::var("DB_LOCKS_SIMULATION_PROGRESS").ok();
    let started = Instant::now();
    let found = run(first..first + count, progress.as_deref());
    eprintln!("{count} seeds in {:?}: {:?}", started.elapsed(), found.totals);
    if let Some((seed, _)) = found.failures.first() {
        eprintln!("{}", history(*seed));
    }
    let failures: Vec<_> = found.failures.iter().map(|(seed, why)| format!("seed {seed}: {why}")).collect();
    assert!(failures.is_empty(), "replay one with DB_LOCKS_SIMULATION_SEED:\n{}", failures.join("\n"));
}

#[test]
fn one_seed_gives_one_history() {
    for seed in 0..10 {
        let (first, second) = (simulate(seed, None), simulate(seed, None));
        assert!(first.lines == second.lines, "seed {seed} has two histories");
    }
}

/// Shows that the simulation can fail.
#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let started = Instant::now();
        let mut seed = 0;
        let why = loop {
            if let Some(why) = simulate(seed, Some(bug)).failure {
                break why;
            }
            seed += 1;
            assert!(started.elapsed() < FOUND_WITHIN, "{bug:?} is not found with {seed} seeds");
        };
        eprintln!("{bug:?} is found by seed {seed} after {:?}: {why}", started.elapsed());
    }
}
