//! Several replicas of the service on one database, some of which are killed, paused or cut off.

mod churn;
mod clock;
mod crash;
mod exclusion;
mod force;
mod hand_over;
mod hang_up;
mod order;
mod pause;
mod proof;
mod quiet;
mod reattach;
mod restart;
mod start;

use crate::conformance::on_every_database;
