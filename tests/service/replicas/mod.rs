//! Several replicas of the service on one database, some of which are killed, paused or cut off.

pub(crate) mod churn;
mod clock;
pub(crate) mod crash;
pub(crate) mod exclusion;
mod force;
pub(crate) mod hand_over;
mod hang_up;
pub(crate) mod order;
mod pause;
mod proof;
mod quiet;
mod reattach;
mod restart;
pub(crate) mod start;

use crate::conformance::on_every_database;
