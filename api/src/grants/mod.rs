//! What locks and permits of semaphores have in common: taking, renewing and ending a grant. One file an operation.

pub(crate) mod acquire;
pub(crate) mod heartbeat;
pub(crate) mod release;
