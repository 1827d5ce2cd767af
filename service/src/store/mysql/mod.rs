//! MariaDB and MySQL: one protocol and one driver, and different statements where the servers differ.

pub(super) mod batch;
mod commit;
mod commit_guarded;
mod error;
pub(super) mod guards;
mod session;
pub(super) mod sql;
mod text;

pub(super) use self::error::error_number;
pub(super) use self::session::{IS_READ_ONLY, migration_session, plain_options};
