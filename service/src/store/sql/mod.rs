//! The text of every statement, made once when the database is connected.
//!
//! The hot path is written out a dialect, in a module each; what is the same in all of them is written once, in a template.
//! Every statement begins with a comment that names what it is for, so that the database's own views of running
//! statements can be read.

pub(super) mod locked;
pub(super) mod mysql;
pub(super) mod postgres;
mod replicas;
pub(super) mod sqlite;
mod sweep;

#[cfg(test)]
mod tests;

use self::{mysql::Upserts, replicas::ReplicaSql, sweep::SweepSql};
use super::{
    dialect::Dialect,
    rows::{PERMIT_COLUMNS, WAITER_COLUMNS},
};

/// Statements of one database, ready to be sent.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) dialect: Dialect,
    /// Writes keys' rows on MariaDB and MySQL; the others' statements for that are constants of their modules.
    pub(super) upserts: Option<Upserts>,
    /// Whose row versions stand, where the upsert does not tell.
    pub(super) read_back: Option<String>,
    pub(super) waiters_gone: String,
    pub(super) waiters_put: String,
    pub(super) permits_put: String,
    pub(super) permits_clear: String,
    /// Loads keys' rows; on SQLite one, by the connection that reads them.
    pub(super) load_rows: String,
    pub(super) lock_row: Option<String>,
    /// Keys with a row, and those of them whose row nobody has locked, on MariaDB and MySQL.
    pub(super) find_there: String,
    pub(super) find_free: String,
    pub(super) load_queue_prefix: String,
    pub(super) load_waiters_of: String,
    pub(super) load_permits: String,
    pub(super) count_busy: String,
    pub(super) now: String,
    pub(super) replicas: ReplicaSql,
    pub(super) sweep: SweepSql,
}

impl Sql {
    /// All statements of a dialect.
    pub(super) fn new(dialect: Dialect) -> Self {
        let hot = Hot::of(dialect);
        let sql = |template: &str| dialect.sql(template);
        let find_there = locked::MYSQL_THERE.replace("{binary}", dialect.binary_collation());
        Self {
            dialect,
            find_free: [&find_there, locked::SKIP_LOCKED].concat(),
            find_there,
            upserts: hot.upserts,
            read_back: hot.read_back,
            waiters_gone: hot.waiters_gone,
            waiters_put: hot.waiters_put,
            permits_put: hot.permits_put,
            load_rows: hot.load_rows,
            permits_clear: sql("/* permits_clear */ DELETE FROM permits WHERE tenant = ? AND {key} = ?"),
            lock_row: (dialect != Dialect::Sqlite)
                .then(|| sql("/* lock_row */ SELECT 1 FROM locks WHERE tenant = ? AND {key} = ? FOR UPDATE")),
            load_queue_prefix: sql(&format!(
                "/* load_heads */ SELECT {WAITER_COLUMNS} FROM waiters w WHERE w.tenant = ? AND w.{{key}} = ? \
                 ORDER BY w.seq LIMIT ?"
            )),
            load_waiters_of: sql(&format!(
                "/* load_waiters_of */ SELECT {WAITER_COLUMNS} FROM waiters w \
                 WHERE w.tenant = ? AND w.{{key}} = ? AND w.replica = ? ORDER BY w.seq LIMIT ?"
            )),
            load_permits: sql(&format!(
                "/* load_permits */ SELECT {PERMIT_COLUMNS} FROM permits WHERE tenant = ? AND {{key}} = ? \
                 ORDER BY expires_at_ms, slot LIMIT ?"
            )),
            count_busy: sql("/* count_busy */ SELECT count(*) FROM permits \
                 WHERE tenant = ? AND {key} = ? AND expires_at_ms > ? AND NOT released"),
            now: sql("/* now */ SELECT {now}"),
            replicas: ReplicaSql::new(dialect),
            sweep: SweepSql::new(dialect),
        }
    }

    /// Waiters behind the front, by version: `versions` placeholders after tenant and key.
    pub(super) fn load_named_waiters(&self, versions: usize) -> String {
        self.dialect.sql(&format!(
            "/* load_named_waiters */ SELECT {WAITER_COLUMNS} FROM waiters w \
             WHERE w.tenant = ? AND w.{{key}} = ? AND w.version IN ({})",
            placeholders(versions)
        ))
    }

    /// How many stand before each of these waiters: `versions` placeholders after tenant and key. One pass over the queue for all
    /// of them; a count for each would read the queue as often as there are versions.
    pub(super) fn load_positions(&self, versions: usize) -> String {
        self.dialect.sql(&format!(
            "/* load_positions */ SELECT q.seq, q.ahead FROM (SELECT w.seq, w.version, \
             count(*) OVER (ORDER BY w.seq ROWS UNBOUNDED PRECEDING) - 1 AS ahead FROM waiters w \
             WHERE w.tenant = ? AND w.{{key}} = ?) AS q WHERE q.version IN ({})",
            placeholders(versions)
        ))
    }

    /// Permits by version: `versions` placeholders after tenant and key.
    pub(super) fn load_named_permits(&self, versions: usize) -> String {
        self.dialect.sql(&format!(
            "/* load_named_permits */ SELECT {PERMIT_COLUMNS} FROM permits \
             WHERE tenant = ? AND {{key}} = ? AND version IN ({})",
            placeholders(versions)
        ))
    }
}

/// The statements of the hot path in the dialect of a URL's scheme, each with its name: for those who look at plans.
pub fn hot_statements(scheme: &str) -> Vec<(&'static str, String)> {
    let dialect = match scheme {
        "sqlite" => Dialect::Sqlite,
        "postgres" | "postgresql" => Dialect::Postgres,
        "mariadb" => Dialect::MariaDb,
        _ => Dialect::MySql,
    };
    let sql = Sql::new(dialect);
    let (named_waiters, named_permits) = (sql.load_named_waiters(2), sql.load_named_permits(2));
    let positions = sql.load_positions(2);
    let mut statements = vec![
        ("load", sql.load_rows),
        ("load_heads", sql.load_queue_prefix),
        ("load_named_waiters", named_waiters),
        ("load_positions", positions),
        ("load_permits", sql.load_permits),
        ("load_named_permits", named_permits),
        ("offers", sql.replicas.offers),
        ("count_waiting", sql.replicas.count_waiting),
    ];
    let commits: &[(&'static str, &str)] = match dialect {
        Dialect::Sqlite => &[("commit", sqlite::UPDATE), ("commit_new", sqlite::INSERT)],
        Dialect::Postgres => &[
            ("commit", postgres::UPDATE),
            ("commit_mixed", postgres::UPDATE_AND_INSERT),
            ("commit_one", postgres::UPDATE_ONE),
            ("commit_new", postgres::INSERT_ONE),
            ("commit_with_waiters", postgres::UPDATE_WITH_WAITERS),
            ("commit_with_waiters_and_nudges", postgres::UPDATE_WITH_WAITERS_AND_NOTIFICATIONS),
            ("commit_with_children", postgres::UPDATE_AND_INSERT_WITH_CHILDREN),
        ],
        // Values lists have no plan.
        Dialect::MariaDb | Dialect::MySql => &[],
    };
    statements.extend(commits.iter().map(|(name, sql)| (*name, (*sql).to_owned())));
    if dialect != Dialect::Postgres {
        let parts = [
            ("waiters_gone", sql.waiters_gone),
            ("waiters_put", sql.waiters_put),
            ("permits_put", sql.permits_put),
        ];
        statements.extend(parts);
    }
    statements
}

fn placeholders(count: usize) -> String {
    vec!["?"; count.max(1)].join(", ")
}

/// What every dialect writes out by itself.
struct Hot {
    upserts: Option<Upserts>,
    read_back: Option<String>,
    waiters_gone: String,
    waiters_put: String,
    permits_put: String,
    load_rows: String,
}

impl Hot {
    fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Postgres => Self {
                upserts: None,
                read_back: None,
                waiters_gone: postgres::WAITERS_GONE.to_owned(),
                waiters_put: postgres::WAITERS_PUT.to_owned(),
                permits_put: postgres::PERMITS_PUT.to_owned(),
                load_rows: postgres::LOAD_ROWS.to_owned(),
            },
            Dialect::Sqlite => Self {
                upserts: None,
                read_back: None,
                waiters_gone: sqlite::WAITER_GONE.to_owned(),
                waiters_put: sqlite::WAITER_PUT.to_owned(),
                permits_put: sqlite::PERMIT_PUT.to_owned(),
                load_rows: sqlite::LOAD_ROW.to_owned(),
            },
            Dialect::MariaDb | Dialect::MySql => {
                let binary = |text: &str| text.replace("{binary}", dialect.binary_collation());
                let (returning, read_back) = match dialect {
                    Dialect::MariaDb => (mysql::RETURNING, None),
                    _ => ("", Some(binary(mysql::READ_BACK))),
                };
                Self {
                    upserts: Some(Upserts::new(returning)),
                    read_back,
                    waiters_gone: binary(mysql::WAITERS_GONE),
                    waiters_put: mysql::WAITERS_PUT.to_owned(),
                    permits_put: mysql::PERMITS_PUT.to_owned(),
                    load_rows: binary(mysql::LOAD_ROWS),
                }
            }
        }
    }
}
