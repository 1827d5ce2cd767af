//! Statements that load a key: its row, its queue and its permits.

use super::{super::columns::Columns, Dialect, mysql, postgres, sqlite};

/// The number of bytes up to which the data of a waiter is read with its row.
const SMALL_DATA: usize = 1_024;

/// The statements of one database.
#[derive(Debug)]
pub(in super::super) struct LoadSql {
    dialect: Dialect,
    /// Loads keys' rows; on SQLite a single one.
    pub(in super::super) rows: String,
    pub(in super::super) queue_prefix: String,
    pub(in super::super) waiters_of: String,
    pub(in super::super) permits: String,
    pub(in super::super) active_permits: String,
    pub(in super::super) latest_chosen: String,
}

impl LoadSql {
    pub(super) fn new(dialect: Dialect) -> Self {
        let (waiter, permit) = (waiter_columns(), permit_columns());
        let rows = match dialect {
            Dialect::Sqlite => sqlite::load_row(),
            Dialect::Postgres => postgres::LOAD_ROWS.clone(),
            Dialect::MariaDb | Dialect::MySql => dialect.sql(&mysql::load_rows()),
        };
        Self {
            dialect,
            rows,
            queue_prefix: dialect.sql(&format!(
                "/* load_queue_prefix */ SELECT {waiter} FROM waiters w WHERE w.tenant = ? AND w.{{key}} = ? \
                 ORDER BY w.seq LIMIT ?"
            )),
            waiters_of: dialect.sql(&format!(
                "/* load_waiters_of */ SELECT {waiter} FROM waiters w \
                 WHERE w.tenant = ? AND w.{{key}} = ? AND w.replica = ? ORDER BY w.seq LIMIT ?"
            )),
            permits: dialect.sql(&format!(
                "/* load_permits */ SELECT {permit} FROM permits WHERE tenant = ? AND {{key}} = ? \
                 ORDER BY expires_at_ms, slot LIMIT ?"
            )),
            active_permits: dialect.sql(&format!(
                "/* load_active_permits */ SELECT {permit} FROM permits \
                 WHERE tenant = ? AND {{key}} = ? AND expires_at_ms > ? ORDER BY expires_at_ms, slot LIMIT ?"
            )),
            latest_chosen: dialect.sql(&format!(
                "/* load_latest_chosen */ SELECT {permit} FROM permits \
                 WHERE tenant = ? AND {{key}} = ? AND chosen ORDER BY token DESC LIMIT ?"
            )),
        }
    }

    /// Loads waiters by version, with `versions` placeholders after tenant and key.
    pub(in super::super) fn named_waiters(&self, versions: usize) -> String {
        format!("/* load_named_waiters */ {}", self.of_versions(&waiter_columns(), "waiters", versions))
    }

    /// Loads the data of waiters, with `versions` placeholders after tenant and key.
    pub(in super::super) fn waiter_data(&self, versions: usize) -> String {
        format!("/* load_waiter_data */ {}", self.of_versions("w.seq, w.data", "waiters", versions))
    }

    /// Reads the number of waiters ahead of each waiter that has one of these versions, with `versions` placeholders
    /// after tenant and key. This reads the queue once; a count for each version would read it as often as there are
    /// versions.
    pub(in super::super) fn positions(&self, versions: usize) -> String {
        self.dialect.sql(&format!(
            "/* load_positions */ SELECT q.seq, q.ahead FROM (SELECT w.seq, w.version, \
             count(*) OVER (ORDER BY w.seq ROWS UNBOUNDED PRECEDING) - 1 AS ahead FROM waiters w \
             WHERE w.tenant = ? AND w.{{key}} = ?) AS q WHERE q.version IN ({})",
            placeholders(versions)
        ))
    }

    /// Loads permits by version, with `versions` placeholders after tenant and key.
    pub(in super::super) fn named_permits(&self, versions: usize) -> String {
        let columns = Columns::of_permits().without(&["tenant", "key"]);
        let columns = columns.list(|column| format!("w.{}", column.name));
        format!("/* load_named_permits */ {}", self.of_versions(&columns, "permits", versions))
    }

    /// Selects columns of the rows `w` of a table that have these versions.
    fn of_versions(&self, columns: &str, table: &str, versions: usize) -> String {
        match self.dialect {
            Dialect::Postgres => postgres::of_versions(columns, table, versions),
            Dialect::Sqlite | Dialect::MariaDb | Dialect::MySql => self.dialect.sql(&format!(
                "SELECT {columns} FROM {table} w WHERE w.tenant = ? AND w.{{key}} = ? AND w.version IN ({})",
                placeholders(versions)
            )),
        }
    }
}

/// The columns that `rows::read_waiter` reads: at the end the data, unless it is large, and its length.
fn waiter_columns() -> String {
    let columns = Columns::of_waiters().without(&["tenant", "key", "data"]);
    format!(
        "{}, CASE WHEN octet_length(w.data) <= {SMALL_DATA} THEN w.data END AS data, octet_length(w.data) AS data_bytes",
        columns.list(|column| format!("w.{}", column.name))
    )
}

/// The columns that `rows::read_permit` reads.
fn permit_columns() -> String {
    Columns::of_permits().without(&["tenant", "key"]).names()
}

fn placeholders(count: usize) -> String {
    vec!["?"; count.max(1)].join(", ")
}
