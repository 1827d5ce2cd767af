//! The operations on grants of locks and permits: acquire, heartbeat and release, one file each.

pub(crate) mod acquire;
pub(crate) mod heartbeat;
pub(crate) mod release;
