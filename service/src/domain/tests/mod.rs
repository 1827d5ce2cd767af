//! The rules, tested: by examples a subject, by a naive model, and by a simulation of replicas from seeds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod acquire;
mod fixtures;
mod held;
mod model;
mod properties;
mod repeat;
mod semaphore;
mod simulation;
mod waiting;
mod wake_up;
