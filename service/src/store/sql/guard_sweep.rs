//! Statements that find and remove guard rows of keys that are gone.

use super::{Dialect, mysql, sweep::with_page};

/// The rows of guards that name no grant, of which no key has a row.
#[derive(Debug)]
pub(in super::super) struct GuardSweepSql {
    /// Reads guard rows after a key, those of its tenant and those of later tenants, each with whether its key is gone.
    pub(in super::super) after: [String; 2],
    pub(in super::super) removal: GuardRemoval,
}

/// How guard rows of keys are removed if the keys are gone.
#[derive(Debug)]
pub(in super::super) enum GuardRemoval {
    /// A statement that does it.
    One(String),
    /// On MariaDB and MySQL, in a transaction: they cannot delete a limited number of rows of several keys.
    Steps {
        /// Locks and lists guard rows. From then on nobody makes a guarded key of their keys.
        lock: String,
        /// Deletes listed guard rows.
        delete: String,
    },
}

impl GuardSweepSql {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            after: ["tenant = ? AND {key} > ?", "tenant > ?"].map(|range| after(dialect, range)),
            removal: removal(dialect),
        }
    }
}

/// PostgreSQL could read all keys for `NOT EXISTS`, to have them at hand.
fn after(dialect: Dialect, range: &str) -> String {
    with_page(
        dialect,
        "guards_after",
        "l.tenant, l.{key}, l.version IS NULL AND (SELECT k.kind FROM locks k \
         WHERE k.tenant = l.tenant AND k.{key} = l.{key} LIMIT 1) IS NULL",
        &format!(
            "SELECT tenant, {{key}}, version FROM db_locks_guards WHERE {range} ORDER BY tenant, {{key}} LIMIT ?"
        ),
    )
}

/// Rows that a user's transaction keeps locked are left for later.
fn removal(dialect: Dialect) -> GuardRemoval {
    match dialect {
        Dialect::Sqlite => GuardRemoval::One(dialect.sql(
            "/* remove_guards */ DELETE FROM db_locks_guards WHERE (tenant, {key}, slot) IN \
             (SELECT g.tenant, g.{key}, g.slot FROM json_each(?) AS n \
             CROSS JOIN db_locks_guards g ON g.tenant = n.value ->> 0 AND g.{key} = n.value ->> 1 \
             WHERE g.version IS NULL AND NOT EXISTS \
             (SELECT 1 FROM locks l WHERE l.tenant = g.tenant AND l.{key} = g.{key}) LIMIT ?)",
        )),
        // A row that another transaction changes meanwhile is locked in its new form, which this statement does not see and
        // does not delete.
        Dialect::Postgres => GuardRemoval::One(dialect.sql(
            "/* remove_guards */ DELETE FROM db_locks_guards WHERE ctid = ANY (ARRAY(\
             SELECT g.ctid FROM unnest(?::text[], ?::text[]) AS n (tenant, {key}) CROSS JOIN LATERAL \
             (SELECT g.ctid FROM db_locks_guards g WHERE g.tenant = n.tenant AND g.{key} = n.{key} \
             AND g.version IS NULL LIMIT 10000 FOR UPDATE SKIP LOCKED) AS g \
             WHERE (SELECT l.stamp FROM locks l WHERE l.tenant = n.tenant AND l.{key} = n.{key} LIMIT 1) IS NULL \
             LIMIT ?))",
        )),
        Dialect::MariaDb | Dialect::MySql => GuardRemoval::Steps {
            lock: dialect.sql(&format!(
                "/* lock_guards */\nSELECT l.tenant, l.`key`, l.slot\n{}\nWHERE l.version IS NULL LIMIT ?{}",
                mysql::FROM_GUARDS,
                mysql::skip_locked(dialect)
            )),
            delete: dialect.sql(mysql::GUARDS_GONE),
        },
    }
}
