//! MariaDB and MySQL: one protocol and one driver, and different statements where it matters.

pub(super) mod batch;
mod commit;
mod session;
pub(super) mod sql;

pub(super) use self::session::{IS_READ_ONLY, MIGRATION_SESSION, plain_options};
