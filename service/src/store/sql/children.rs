//! Statements that write the rows below a key's row: its waiters and its permits.

use super::{Dialect, mysql, postgres, sqlite};

/// The statements of one database.
#[derive(Debug)]
pub(in super::super) struct ChildrenSql {
    pub(in super::super) waiters_gone: String,
    pub(in super::super) waiters_put: String,
    pub(in super::super) permits_put: String,
    pub(in super::super) permits_clear: String,
}

impl ChildrenSql {
    pub(super) fn new(dialect: Dialect) -> Self {
        let [waiters_gone, waiters_put, permits_put] = match dialect {
            Dialect::Sqlite => [sqlite::WAITER_GONE.to_owned(), sqlite::waiter_put(), sqlite::permit_put()],
            Dialect::Postgres => [postgres::waiters_gone(), postgres::waiters_put(), postgres::permits_put()],
            Dialect::MariaDb | Dialect::MySql => {
                [dialect.sql(mysql::WAITERS_GONE), mysql::waiters_put(), mysql::permits_put()]
            }
        };
        let permits_clear = match dialect {
            Dialect::Sqlite => sqlite::PERMITS_CLEAR.to_owned(),
            Dialect::Postgres => postgres::PERMITS_CLEAR.to_owned(),
            Dialect::MariaDb | Dialect::MySql => dialect
                .sql("/* permits_clear */ DELETE FROM permits WHERE tenant = ? AND {key} = ? AND slot >= ?"),
        };
        Self { waiters_gone, waiters_put, permits_put, permits_clear }
    }
}
