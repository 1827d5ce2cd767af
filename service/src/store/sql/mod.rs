//! The text of every statement, made once when the database is connected.
//!
//! The statements of the hot path are written out for each database, in its own folder. What all have in common is
//! written once, as a template. Statements over entities are in `replicas`, `sweep` and `lists`. Every statement begins
//! with a comment that names its purpose. The database's own views of running statements show this comment.

mod children;
mod guard_sweep;
mod guards;
mod load;
mod replicas;
mod sweep;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use self::guard_sweep::GuardRemoval;
use self::{children::ChildrenSql, guards::GuardSql, load::LoadSql, replicas::ReplicaSql, sweep::SweepSql};
use super::{
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
    pub(super) load: LoadSql,
    pub(super) children: ChildrenSql,
    pub(super) guards: GuardSql,
    pub(super) replicas: ReplicaSql,
    pub(super) sweep: SweepSql,
    /// For MariaDB and MySQL only.
    pub(super) mysql: MysqlSql,
    /// Locks a key's row; not on SQLite.
    pub(super) lock_key: String,
    pub(super) count_busy: String,
    /// As above, of a range of slots.
    pub(super) count_busy_slots: String,
    pub(super) stored_bytes: String,
    pub(super) now: String,
}

/// Statements for MariaDB and MySQL only.
#[derive(Debug)]
pub(super) struct MysqlSql {
    /// Writes keys' rows.
    pub(super) upserts: Upserts,
    /// Writes keys' rows on a node of a Galera cluster.
    pub(super) upserts_in_blocks: Upserts,
    /// Writes whole batches.
    pub(super) batch: BatchSql,
    /// Writes a single guarded mutex on MariaDB.
    pub(super) commit_guarded: Option<Arc<str>>,
    /// Reads keys' rows back after an upsert.
    pub(super) read_back: String,
    /// Finds keys with a row; `find_free` finds those whose row nobody has locked.
    pub(super) find_existing: String,
    pub(super) find_free: String,
}

impl Sql {
    /// All statements of a dialect.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            load: LoadSql::new(dialect),
            children: ChildrenSql::new(dialect),
            guards: GuardSql::new(dialect),
            replicas: ReplicaSql::new(dialect),
            sweep: SweepSql::new(dialect),
            mysql: MysqlSql::new(dialect),
            lock_key: dialect
                .sql("/* lock_key */ SELECT 1 FROM locks WHERE tenant = ? AND {key} = ? FOR UPDATE"),
            // The order makes PostgreSQL's planner use the index by end, see `postgres/clauses.rs`.
            count_busy: dialect.sql(
                "/* count_busy */ SELECT count(*) FROM (SELECT released FROM permits \
                 WHERE tenant = ? AND {key} = ? AND expires_at_ms > ? ORDER BY expires_at_ms) AS p WHERE NOT released",
            ),
            count_busy_slots: dialect.sql(
                "/* count_busy_slots */ SELECT count(*) FROM (SELECT expires_at_ms, released FROM permits \
                 WHERE tenant = ? AND {key} = ? AND slot >= ? AND slot < ? ORDER BY slot) AS p \
                 WHERE expires_at_ms > ? AND NOT released",
            ),
            stored_bytes: stored_bytes(dialect),
            now: dialect.sql("/* now */ SELECT {now}"),
        }
    }
}

impl MysqlSql {
    fn new(dialect: Dialect) -> Self {
        Self {
            upserts: Upserts::new(dialect),
            upserts_in_blocks: Upserts::in_blocks(dialect),
            batch: BatchSql::new(dialect),
            commit_guarded: commit_guarded(dialect),
            read_back: dialect.sql(mysql::READ_BACK),
            find_existing: dialect.sql(mysql::FIND_EXISTING),
            find_free: dialect.sql(&[mysql::FIND_EXISTING, mysql::skip_locked(dialect)].concat()),
        }
    }
}

/// The statements of the hot path in the dialect of a URL's scheme, each with its name, so that their plans can be
/// examined.
pub fn hot_statements(scheme: &str) -> Vec<(&'static str, String)> {
    let dialect = dialect_of(scheme);
    let sql = Sql::new(dialect);
    let mut statements = vec![
        ("load_named_waiters", sql.load.named_waiters(2)),
        ("load_positions", sql.load.positions(2)),
        ("load_named_permits", sql.load.named_permits(2)),
        ("load_waiter_data", sql.load.waiter_data(2)),
        ("count_busy", sql.count_busy),
        ("count_busy_slots", sql.count_busy_slots),
        ("load_active_permits", sql.load.active_permits),
        ("load", sql.load.rows),
        ("load_queue_prefix", sql.load.queue_prefix),
        ("load_permits", sql.load.permits),
        ("stored_bytes", sql.stored_bytes),
        ("permits_clear", sql.children.permits_clear),
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
            ("waiters_gone", sql.children.waiters_gone.clone()),
            ("find_blocked", postgres::find_blocked()),
        ]),
        // Lists of values have no plan.
        Dialect::MariaDb | Dialect::MySql => {}
    }
    if dialect != Dialect::Postgres {
        statements.extend([
            ("waiters_gone", sql.children.waiters_gone),
            ("waiters_put", sql.children.waiters_put),
            ("permits_put", sql.children.permits_put),
        ]);
    }
    statements
}

/// The statements of the sweeper, likewise.
pub fn sweep_statements(scheme: &str) -> Vec<(&'static str, String)> {
    let Sql { sweep, guards, .. } = Sql::new(dialect_of(scheme));
    let [of_tenant, of_later_tenants] = guards.sweep.after;
    let mut statements = vec![
        ("ended", sweep.ended),
        ("tombstones", sweep.tombstones),
        ("delete_tombstones", sweep.delete_tombstones),
        ("settle_floor", sweep.settle_floor),
        ("guards_of_tenant", of_tenant),
        ("guards_of_later_tenants", of_later_tenants),
    ];
    statements.extend(sweep.lock_tombstones.map(|sql| ("lock_tombstones", sql)));
    match guards.sweep.removal {
        GuardRemoval::One(sql) => statements.push(("remove_guards", sql)),
        GuardRemoval::Steps { lock, delete } => {
            statements.extend([("lock_guards", lock), ("delete_guards", delete)]);
        }
    }
    statements
}

fn dialect_of(scheme: &str) -> Dialect {
    match scheme {
        "sqlite" => Dialect::Sqlite,
        "postgres" | "postgresql" => Dialect::Postgres,
        "mariadb" => Dialect::MariaDb,
        _ => Dialect::MySql,
    }
}

/// Sums up the bytes that a tenant stores, requests that wait included. Deleted keys count until their rows are swept.
fn stored_bytes(dialect: Dialect) -> String {
    let integer = match dialect {
        Dialect::Sqlite | Dialect::Postgres => "BIGINT",
        Dialect::MariaDb | Dialect::MySql => "SIGNED",
    };
    let rows_of = |table: &str, more: &str| {
        format!(
            "SELECT {ROW_BYTES} * count(*) + coalesce(sum(octet_length(data)), 0){more} AS bytes FROM {table} WHERE tenant = ?"
        )
    };
    dialect.sql(&format!(
        "/* stored_bytes */ SELECT CAST(sum(bytes) AS {integer}) FROM (\n    {}\n    UNION ALL {}\n    UNION ALL {}\n) AS tables_of_tenant",
        rows_of("locks", " + coalesce(sum(octet_length(ended)), 0)"),
        rows_of("permits", ""),
        rows_of("waiters", "")
    ))
}
