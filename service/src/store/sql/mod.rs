//! The text of every statement, made once when the database is connected.
//!
//! The hot path is written out a dialect, in a module each; what is the same in all of them is written once, in a template.
//! Every statement begins with a comment that names what it is for, so that the database's own views of running
//! statements can be read.

mod mysql;
mod postgres;
mod replicas;
mod sqlite;
mod sweep;

#[cfg(test)]
mod tests;

use self::{replicas::ReplicaSql, sweep::SweepSql};
use super::{
    dialect::Dialect,
    rows::{PERMIT_COLUMNS, WAITER_COLUMNS},
};

/// SQLite's batches are rounded up to one of these, so that few statements are prepared.
pub(super) const SQLITE_SIZES: [usize; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/// Statements of one database, ready to be sent.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) dialect: Dialect,
    /// Conditional upserts: one text; on PostgreSQL another for a single row; on SQLite one for each of
    /// [`SQLITE_SIZES`].
    pub(super) upsert: Vec<String>,
    /// SQLite's commits, for each of [`SQLITE_SIZES`]: rows only, and with what hangs on them.
    pub(super) scripts: Vec<(String, String)>,
    /// The same with what hangs on the rows, where one statement can do that.
    pub(super) upsert_with_children: Option<&'static str>,
    /// Whose stamps stand, where the upsert does not tell.
    pub(super) read_back: Option<String>,
    pub(super) waiters_gone: String,
    pub(super) waiters_put: String,
    pub(super) permits_put: String,
    pub(super) permits_clear: String,
    pub(super) load_rows: String,
    pub(super) lock_row: Option<String>,
    pub(super) load_heads: String,
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
        Self {
            dialect,
            scripts: scripts(dialect, &hot),
            upsert: hot.upsert,
            upsert_with_children: hot.upsert_with_children,
            read_back: hot.read_back,
            waiters_gone: hot.waiters_gone,
            waiters_put: hot.waiters_put,
            permits_put: hot.permits_put,
            load_rows: hot.load_rows,
            permits_clear: sql("/* permits_clear */ DELETE FROM permits WHERE tenant = ? AND {key} = ?"),
            lock_row: (dialect != Dialect::Sqlite)
                .then(|| sql("/* lock_row */ SELECT 1 FROM locks WHERE tenant = ? AND {key} = ? FOR UPDATE")),
            load_heads: sql(&format!(
                "/* load_heads */ SELECT {WAITER_COLUMNS} FROM waiters w WHERE w.tenant = ? AND w.{{key}} = ? \
                 ORDER BY w.seq LIMIT ?"
            )),
            load_waiters_of: sql(&format!(
                "/* load_waiters_of */ SELECT {WAITER_COLUMNS}, {WAITERS_BEFORE} FROM waiters w \
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
            "/* load_named_waiters */ SELECT {WAITER_COLUMNS}, {WAITERS_BEFORE} FROM waiters w \
             WHERE w.tenant = ? AND w.{{key}} = ? AND w.version IN ({})",
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
    let mut sql = Sql::new(dialect);
    let (named_waiters, named_permits) = (sql.load_named_waiters(2), sql.load_named_permits(2));
    let children = sql.upsert_with_children.map(str::to_owned);
    let mut statements = vec![
        ("commit", sql.upsert.swap_remove(0)),
        ("load", sql.load_rows),
        ("load_heads", sql.load_heads),
        ("load_named_waiters", named_waiters),
        ("load_permits", sql.load_permits),
        ("load_named_permits", named_permits),
        ("offers", sql.replicas.offers),
        ("count_waiting", sql.replicas.count_waiting),
    ];
    if dialect == Dialect::Postgres {
        statements.extend(sql.upsert.pop().map(|text| ("commit_one", text)));
    }
    statements.extend(children.map(|text| ("commit_with_children", text)));
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

/// How many stand before a waiter.
const WAITERS_BEFORE: &str =
    "(SELECT count(*) FROM waiters b WHERE b.tenant = w.tenant AND b.{key} = w.{key} AND b.seq < w.seq)";

fn placeholders(count: usize) -> String {
    vec!["?"; count.max(1)].join(", ")
}

/// What every dialect writes out by itself.
struct Hot {
    upsert: Vec<String>,
    upsert_with_children: Option<&'static str>,
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
                upsert: vec![postgres::UPSERT.to_owned(), postgres::UPSERT_ONE.to_owned()],
                upsert_with_children: Some(postgres::UPSERT_WITH_CHILDREN),
                read_back: None,
                waiters_gone: postgres::WAITERS_GONE.to_owned(),
                waiters_put: postgres::WAITERS_PUT.to_owned(),
                permits_put: postgres::PERMITS_PUT.to_owned(),
                load_rows: postgres::LOAD_ROWS.to_owned(),
            },
            Dialect::Sqlite => Self {
                upsert: SQLITE_SIZES.iter().map(|size| sqlite_upsert(*size)).collect(),
                upsert_with_children: None,
                read_back: Some(sqlite::READ_BACK.to_owned()),
                waiters_gone: sqlite::WAITERS_GONE.to_owned(),
                waiters_put: sqlite::WAITERS_PUT.to_owned(),
                permits_put: sqlite::PERMITS_PUT.to_owned(),
                load_rows: sqlite::LOAD_ROWS.to_owned(),
            },
            Dialect::MariaDb | Dialect::MySql => {
                let binary = |text: &str| text.replace("{binary}", dialect.binary_collation());
                let upsert = binary(mysql::UPSERT);
                let (upsert, read_back) = match dialect {
                    Dialect::MariaDb => (upsert + mysql::RETURNING, None),
                    _ => (upsert, Some(binary(mysql::READ_BACK))),
                };
                Self {
                    upsert: vec![upsert],
                    upsert_with_children: None,
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

/// SQLite's commits as scripts; none elsewhere.
fn scripts(dialect: Dialect, hot: &Hot) -> Vec<(String, String)> {
    if dialect != Dialect::Sqlite {
        return Vec::new();
    }
    let read_back = hot.read_back.as_deref().unwrap_or_default();
    let script = |upsert: &String| {
        let begin = "BEGIN IMMEDIATE;\n";
        let end = format!("{read_back};\nCOMMIT");
        let children = format!("{};\n{};\n{};\n", hot.waiters_gone, hot.waiters_put, hot.permits_put);
        (format!("{begin}{upsert};\n{end}"), format!("{begin}{upsert};\n{children}{end}"))
    };
    hot.upsert.iter().map(script).collect()
}

fn sqlite_upsert(rows: usize) -> String {
    let row = format!("({})", placeholders(super::rows::LOCK_COLUMNS.len()));
    sqlite::UPSERT.replace("{rows}", &vec![row; rows].join(", "))
}
