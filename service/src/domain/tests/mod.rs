//! Tests of the rules: by examples for each subject, and by a naive model. `crate::simulation` tests them within the
//! whole service.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod acquire;
mod deletion;
mod fixtures;
mod force;
mod held;
mod lost_answers;
mod model;
mod properties;
mod repeat;
mod semaphore;
mod storage;
mod waiting;
mod wake_up;
