//! A simulation from seeds: clients, replicas with memories of their own, and one database, in simulated time.
//!
//! Answers are lost after the commit, races are lost, replicas crash, pause and come back with stale memories, nudges get
//! lost, and the database's clock steps. After every commit the ledger holds what is written against the invariants of
//! the design (1, 2, 3, 5 and 9 at once, 6 and 7 when things have become quiet). The number of seeds can be raised by
//! `DB_LOCKS_SIMULATION_SEEDS`, and one be replayed by `DB_LOCKS_SIMULATION_SEED`.

mod clients;
mod database;
mod engine;
mod ledger;
mod replica;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::world::{Totals, World};

/// Seeds of a normal run.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn simulate(seed: u64) -> Totals {
    let run = AssertUnwindSafe(|| World::new(seed).run());
    catch_unwind(run).unwrap_or_else(|_| {
        panic!("seed {seed} fails; replay it with DB_LOCKS_SIMULATION_SEED={seed}");
    })
}

/// Invariants 1, 2, 3, 5, 6, 7 and 9.
#[test]
fn whatever_fails_and_whenever_the_invariants_hold() {
    if let Some(seed) = number("DB_LOCKS_SIMULATION_SEED") {
        simulate(seed);
        return;
    }
    let mut totals = Totals::default();
    for seed in 0..number("DB_LOCKS_SIMULATION_SEEDS").unwrap_or(SEEDS) {
        totals.add(&simulate(seed));
    }
    assert!(totals.is_eventful(), "the simulation misses what it is for: {totals:?}");
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(simulate(7), simulate(7));
}
