//! Guarded locks: the transactions of users that call `db_locks_guard`, and the lock meanwhile.

mod examples;
mod locks;
mod open;
mod permits;
mod proof;
mod replicas;
mod restore;
mod rights;
mod routines;
mod sessions;
mod trips;
pub(crate) mod user;
mod worker;

use self::user::User;
use crate::conformance::on_every_database;
