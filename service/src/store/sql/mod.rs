//! The text of every statement, made once when the database is connected.
//!
//! The statements of the hot path are written out for each database, in its own folder. What all have in common is
//! written once, as a template. Statements over entities are in `replicas`, `sweep` and `lists`. Every statement begins
//! with a comment that names its purpose. The database's own views of running statements show this comment.

mod guards;
mod replicas;
mod sweep;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::{guards::GuardSql, replicas::ReplicaSql, sweep::SweepSql};
use super::{
    columns::Columns,
    dialect::Dialect,
    mysql::{
        batch::BatchSql,
        guards::commit_guarded,
        sql::{self as mysql, Upserts},
    },
    postgres::sql as postgres,
    sqlite::sql as sqlite,
};
use crate::domain::ROW_BYTES;

/// Statements of one database, ready to be sent.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) dialect: Dialect,
    /// Writes keys' rows on MariaDB and MySQL.
    pub(super) upserts: Upserts,
    /// Writes keys' rows on a node of a Galera cluster.
    pub(super) upserts_in_blocks: Upserts,
    /// Writes whole batches on MariaDB and MySQL.
    pub(super) batch: BatchSql,
    /// Writes a single guarded mutex on MariaDB.
    pub(super) commit_guarded: Option<Arc<str>>,
    /// Reads keys' rows back after an upsert, on MariaDB and MySQL.
    pub(super) read_back: String,
    pub(super) waiters_gone: String,
    pub(super) waiters_put: String,
    pub(super) permits_put: String,
    pub(super) permits_clear: String,
    /// Loads keys' rows; on SQLite a single one.
    pub(super) load_rows: String,
    /// Locks a key's row; not on SQLite.
    pub(super) lock_row: String,
    /// Finds keys with a row; `find_free` finds those whose row nobody has locked. On MariaDB and MySQL.
    pub(super) find_existing: String,
    pub(super) find_free: String,
    pub(super) load_queue_prefix: String,
    pub(super) load_waiters_of: String,
    pub(super) load_permits: String,
    pub(super) load_active_permits: String,
    pub(super) load_latest_chosen: String,
    pub(super) count_busy: String,
    pub(super) stored_bytes: String,
    pub(super) now: String,
    pub(super) guards: GuardSql,
    pub(super) replicas: ReplicaSql,
    pub(super) sweep: SweepSql,
}

impl Sql {
    /// All statements of a dialect.
    pub(super) fn new(dialect: Dialect) -> Self {
        let sql = |template: &str| dialect.sql(template);
        let [waiters_gone, waiters_put, permits_put, load_rows] = match dialect {
            Dialect::Sqlite => [
                sqlite::WAITER_GONE.to_owned(),
                sqlite::waiter_put(),
                sqlite::permit_put(),
                sqlite::load_row(),
            ],
            Dialect::Postgres => [
                postgres::WAITERS_GONE.to_owned(),
                postgres::waiters_put(),
                postgres::permits_put(),
                postgres::LOAD_ROWS.clone(),
            ],
            Dialect::MariaDb | Dialect::MySql => [
                sql(mysql::WAITERS_GONE),
                mysql::waiters_put(),
                mysql::permits_put(),
                sql(&mysql::load_rows()),
            ],
        };
        let (waiter, permit) = (waiter_columns(), permit_columns());
        Self {
            dialect,
            upserts: Upserts::new(dialect),
            upserts_in_blocks: Upserts::in_blocks(dialect),
            batch: BatchSql::new(dialect),
            commit_guarded: commit_guarded(dialect),
            read_back: sql(mysql::READ_BACK),
            waiters_gone,
            waiters_put,
            permits_put,
            permits_clear: sql("/* permits_clear */ DELETE FROM permits WHERE tenant = ? AND {key} = ?"),
            load_rows,
            lock_row: sql("/* lock_row */ SELECT 1 FROM locks WHERE tenant = ? AND {key} = ? FOR UPDATE"),
            find_existing: sql(mysql::FIND_EXISTING),
            find_free: sql(&[mysql::FIND_EXISTING, mysql::skip_locked(dialect)].concat()),
            load_queue_prefix: sql(&format!(
                "/* load_queue_prefix */ SELECT {waiter} FROM waiters w WHERE w.tenant = ? AND w.{{key}} = ? \
                 ORDER BY w.seq LIMIT ?"
            )),
            load_waiters_of: sql(&format!(
                "/* load_waiters_of */ SELECT {waiter} FROM waiters w \
                 WHERE w.tenant = ? AND w.{{key}} = ? AND w.replica = ? ORDER BY w.seq LIMIT ?"
            )),
            load_permits: sql(&format!(
                "/* load_permits */ SELECT {permit} FROM permits WHERE tenant = ? AND {{key}} = ? \
                 ORDER BY expires_at_ms, slot LIMIT ?"
            )),
            load_active_permits: sql(&format!(
                "/* load_active_permits */ SELECT {permit} FROM permits \
                 WHERE tenant = ? AND {{key}} = ? AND expires_at_ms > ? ORDER BY expires_at_ms, slot LIMIT ?"
            )),
            load_latest_chosen: sql(&format!(
                "/* load_latest_chosen */ SELECT {permit} FROM permits \
                 WHERE tenant = ? AND {{key}} = ? AND chosen ORDER BY token DESC LIMIT ?"
            )),
            count_busy: sql("/* count_busy */ SELECT count(*) FROM permits \
                 WHERE tenant = ? AND {key} = ? AND expires_at_ms > ? AND NOT released"),
            stored_bytes: stored_bytes(dialect),
            now: sql("/* now */ SELECT {now}"),
            guards: GuardSql::new(dialect),
            replicas: ReplicaSql::new(dialect),
            sweep: SweepSql::new(dialect),
        }
    }

    /// Loads waiters by version, with `versions` placeholders after tenant and key.
    pub(super) fn load_named_waiters(&self, versions: usize) -> String {
        self.dialect.sql(&format!(
            "/* load_named_waiters */ SELECT {} FROM waiters w \
             WHERE w.tenant = ? AND w.{{key}} = ? AND w.version IN ({})",
            waiter_columns(),
            placeholders(versions)
        ))
    }

    /// Reads the number of waiters ahead of each waiter that has one of these versions, with `versions` placeholders
    /// after tenant and key. This reads the queue once; a count for each version would read it as often as there are
    /// versions.
    pub(super) fn load_positions(&self, versions: usize) -> String {
        self.dialect.sql(&format!(
            "/* load_positions */ SELECT q.seq, q.ahead FROM (SELECT w.seq, w.version, \
             count(*) OVER (ORDER BY w.seq ROWS UNBOUNDED PRECEDING) - 1 AS ahead FROM waiters w \
             WHERE w.tenant = ? AND w.{{key}} = ?) AS q WHERE q.version IN ({})",
            placeholders(versions)
        ))
    }

    /// Loads permits by version, with `versions` placeholders after tenant and key.
    pub(super) fn load_named_permits(&self, versions: usize) -> String {
        self.dialect.sql(&format!(
            "/* load_named_permits */ SELECT {} FROM permits \
             WHERE tenant = ? AND {{key}} = ? AND version IN ({})",
            permit_columns(),
            placeholders(versions)
        ))
    }
}

/// The columns that `rows::read_waiter` reads.
fn waiter_columns() -> String {
    Columns::of_waiters().without(&["tenant", "key"]).list(|column| format!("w.{}", column.name))
}

/// The columns that `rows::read_permit` reads.
fn permit_columns() -> String {
    Columns::of_permits().without(&["tenant", "key"]).names()
}

/// The statements of the hot path in the dialect of a URL's scheme, each with its name, so that their plans can be
/// examined.
pub fn hot_statements(scheme: &str) -> Vec<(&'static str, String)> {
    let dialect = match scheme {
        "sqlite" => Dialect::Sqlite,
        "postgres" | "postgresql" => Dialect::Postgres,
        "mariadb" => Dialect::MariaDb,
        _ => Dialect::MySql,
    };
    let sql = Sql::new(dialect);
    let mut statements = vec![
        ("load_named_waiters", sql.load_named_waiters(2)),
        ("load_positions", sql.load_positions(2)),
        ("load_named_permits", sql.load_named_permits(2)),
        ("load", sql.load_rows),
        ("load_queue_prefix", sql.load_queue_prefix),
        ("load_permits", sql.load_permits),
        ("stored_bytes", sql.stored_bytes),
        ("offers", sql.replicas.offers),
        ("count_waiting", sql.replicas.count_waiting),
    ];
    match dialect {
        Dialect::Sqlite => {
            statements.extend([("commit", sqlite::update()), ("commit_new", sqlite::insert())]);
        }
        Dialect::Postgres => statements.extend([
            ("commit", postgres::UPDATE.clone()),
            ("commit_mixed", postgres::UPDATE_AND_INSERT.clone()),
            ("commit_one", postgres::UPDATE_ONE.clone()),
            ("commit_guarded", postgres::UPDATE_ONE_GUARDED.clone()),
            ("commit_new", postgres::INSERT_ONE.clone()),
            ("commit_with_waiters", postgres::UPDATE_WITH_WAITERS.clone()),
            (
                "commit_with_waiters_and_notifications",
                postgres::UPDATE_WITH_WAITERS_AND_NOTIFICATIONS.clone(),
            ),
            ("commit_with_children", postgres::UPDATE_AND_INSERT_WITH_CHILDREN.clone()),
        ]),
        // Lists of values have no plan.
        Dialect::MariaDb | Dialect::MySql => {}
    }
    if dialect != Dialect::Postgres {
        statements.extend([
            ("waiters_gone", sql.waiters_gone),
            ("waiters_put", sql.waiters_put),
            ("permits_put", sql.permits_put),
        ]);
    }
    statements
}

fn placeholders(count: usize) -> String {
    vec!["?"; count.max(1)].join(", ")
}

/// Sums up the bytes that a tenant stores, requests that wait included. Deleted keys count until their rows are swept.
fn stored_bytes(dialect: Dialect) -> String {
    let integer = match dialect {
        Dialect::Sqlite | Dialect::Postgres => "BIGINT",
        Dialect::MariaDb | Dialect::MySql => "SIGNED",
    };
    let rows_of = |table: &str| {
        format!(
            "SELECT {ROW_BYTES} * count(*) + coalesce(sum(octet_length(data)), 0) AS bytes FROM {table} WHERE tenant = ?"
        )
    };
    dialect.sql(&format!(
        "/* stored_bytes */ SELECT CAST(sum(bytes) AS {integer}) FROM (\n    {}\n    UNION ALL {}\n    UNION ALL {}\n) AS tables_of_tenant",
        rows_of("locks"),
        rows_of("permits"),
        rows_of("waiters")
    ))
}
