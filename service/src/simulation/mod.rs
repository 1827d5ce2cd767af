//! Deterministic simulation of the real service. Its shards, membership, sweeper, cache and deadlines run unchanged,
//! over a database in memory and in paused time. All random numbers come from a seed. One seed gives one history, bit
//! for bit.
//!
//! Answers and statements are lost, late or reordered; rows are blocked; the database goes away and its clock steps;
//! replicas crash between any two polls, pause, and are stopped. `checker` has the properties that must hold
//! nevertheless.
//!
//! `DB_LOCKS_SIMULATION_SEED=7` replays one seed and prints its history. `DB_LOCKS_SIMULATION_FIRST` and
//! `DB_LOCKS_SIMULATION_COUNT` choose which seeds are run; `DB_LOCKS_SIMULATION_PROGRESS` names a file that notes the
//! last one that passed.

pub(crate) mod bugs;
mod calls;
mod checker;
mod client;
mod database;
mod describe;
mod faults;
pub(crate) mod hooks;
mod plan;
pub(crate) mod process;
mod record;
mod replicas;
mod request;
mod run;
mod tests;
mod worker;
mod world;

use self::{bugs::Bug, hooks::Installed, plan::Plan, record::Outcome, world::World};

/// Runs one seed, with or without a planted bug.
fn simulate(seed: u64, bug: Option<Bug>) -> Outcome {
    let plan = Plan::of(seed);
    let _installed = Installed::new(plan.view_size, bug);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else { panic!("there is no runtime") };
    let outcome = runtime.block_on(async {
        let world = World::new(plan.clone());
        world.record.note(&format!("{plan:?}"));
        world.run().await;
        world.record.close()
    });
    drop(runtime);
    outcome
}
