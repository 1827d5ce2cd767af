//! Statements of the sweeper that differ between dialects, or that SeaORM cannot express.
//!
//! Each reads a bounded number of rows, in the order of an index. On SQLite, those that search are sent before the write
//! lock is taken.

use super::{Dialect, mysql};

/// The next rows to be swept. PostgreSQL and SQLite use their index only if the first condition is there.
const NEXT_ROWS: &str = "WHERE sweep_at_ms IS NOT NULL AND sweep_at_ms >= ? AND sweep_at_ms <= ? \
                         ORDER BY sweep_at_ms LIMIT ?";

/// Tombstones that may be removed: without a queue, old enough, and at or below a floor that has settled.
const IS_REMOVABLE: &str = "l.kind = 0 AND l.waiters = 0 AND l.updated_at_ms <= ? AND l.token <= \
                            (SELECT f.settled_floor FROM token_floors f WHERE f.tenant = l.tenant)";

#[derive(Debug)]
pub(in super::super) struct SweepSql {
    /// Reads the next locks that may have to be deleted.
    pub(in super::super) ended: String,
    /// Reads the next tombstones, each with the floor of its tenant: as it is stored, and as it has settled by now.
    pub(in super::super) tombstones: String,
    /// Marks a tenant's floor as settled if it was raised long enough ago.
    pub(in super::super) settle_floor: String,
    /// Raises a tenant's floor, if its previous floor has settled.
    pub(in super::super) raise_floor: String,
    /// On MariaDB and MySQL, locks and lists those of some tombstones that may be removed.
    pub(in super::super) lock_tombstones: Option<String>,
    /// Deletes those of some tombstones that may be removed, and lists them. On MariaDB and MySQL it deletes what was locked
    /// before.
    pub(in super::super) delete_tombstones: String,
    pub(in super::super) lead_sweep: String,
}

impl SweepSql {
    /// These statements in a dialect.
    pub(super) fn new(dialect: Dialect) -> Self {
        let [raise_floor, lead_sweep] = conflicts(dialect);
        let [floor, settled] = [
            "f.settled_floor",
            "CASE WHEN f.raised_at_ms <= {now} - ? THEN f.{floor} ELSE f.settled_floor END",
        ]
        .map(|value| format!("(SELECT {value} FROM token_floors f WHERE f.tenant = l.tenant)"));
        Self {
            ended: dialect.sql(&format!(
                "/* ended_to_delete */ SELECT tenant, {{key}}, sweep_at_ms, kind FROM locks {NEXT_ROWS}"
            )),
            tombstones: with_page(
                dialect,
                "tombstones",
                &format!(
                    "l.tenant, l.{{key}}, l.sweep_at_ms, l.kind, l.waiters, l.token, {floor}, {settled}"
                ),
                &format!("SELECT tenant, {{key}}, sweep_at_ms, kind, waiters, token FROM locks {NEXT_ROWS}"),
            ),
            settle_floor: dialect.sql(
                "/* settle_floor */ UPDATE token_floors SET settled_floor = {floor} \
                 WHERE tenant = ? AND settled_floor < {floor} AND raised_at_ms <= {now} - ?",
            ),
            raise_floor: dialect.sql(&format!(
                "/* raise_floor */ INSERT INTO token_floors (tenant, {{floor}}, settled_floor, raised_at_ms) \
                 VALUES (?, ?, 0, {{now}}) {raise_floor}"
            )),
            lock_tombstones: lock_tombstones(dialect),
            delete_tombstones: delete_tombstones(dialect),
            lead_sweep: dialect.sql(&format!(
                "/* lead_sweep */ INSERT INTO sweep_lease (id, holder, expires_at_ms) \
                 VALUES (1, ?, {{now}} + ?) {lead_sweep}"
            )),
        }
    }
}

/// A statement that adds something to each row `l` of a page. PostgreSQL would read all rows and not only a page, if it thought
/// that to add something were cheaper then; it does not think so of a page that it makes by itself.
pub(super) fn with_page(dialect: Dialect, name: &str, columns: &str, page: &str) -> String {
    let by_itself = if dialect == Dialect::Postgres { "MATERIALIZED " } else { "" };
    dialect.sql(&format!("/* {name} */ WITH l AS {by_itself}({page}) SELECT {columns} FROM l"))
}

/// What happens if the floor, or the lease of the sweeper, has a row already.
const fn conflicts(dialect: Dialect) -> [&'static str; 2] {
    match dialect {
        Dialect::Sqlite | Dialect::Postgres => [
            "ON CONFLICT (tenant) DO UPDATE SET {floor} = excluded.{floor}, \
             raised_at_ms = excluded.raised_at_ms WHERE token_floors.{floor} < excluded.{floor} \
             AND token_floors.settled_floor = token_floors.{floor}",
            "ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms \
             WHERE sweep_lease.holder = excluded.holder OR sweep_lease.expires_at_ms <= {now}",
        ],
        // An assignment sees the results of earlier ones: the columns that the conditions compare come last.
        Dialect::MariaDb | Dialect::MySql => [
            "ON DUPLICATE KEY UPDATE \
             raised_at_ms = IF(settled_floor = {floor} AND {floor} < VALUES({floor}), VALUES(raised_at_ms), \
             raised_at_ms), \
             {floor} = IF(settled_floor = {floor} AND {floor} < VALUES({floor}), VALUES({floor}), {floor})",
            "ON DUPLICATE KEY UPDATE \
             holder = IF(expires_at_ms <= {now}, VALUES(holder), holder), \
             expires_at_ms = IF(holder = VALUES(holder), VALUES(expires_at_ms), expires_at_ms)",
        ],
    }
}

/// MariaDB and MySQL cannot delete rows of several keys and leave out those that are locked.
fn lock_tombstones(dialect: Dialect) -> Option<String> {
    let skip_locked = match dialect {
        Dialect::Sqlite | Dialect::Postgres => return None,
        Dialect::MariaDb | Dialect::MySql => mysql::skip_locked(dialect),
    };
    Some(dialect.sql(&format!(
        "/* lock_tombstones */\nSELECT l.tenant, l.`key`\n{}\nWHERE {IS_REMOVABLE}{skip_locked}",
        mysql::FROM_KEYS
    )))
}

/// Rows are locked in the order of the keys, as batches lock them. Rows that a batch has locked are left for later.
fn delete_tombstones(dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => dialect.sql(&format!(
            "/* delete_tombstones */ DELETE FROM locks WHERE (tenant, {{key}}) IN (SELECT l.tenant, l.{{key}} \
             FROM json_each(?) AS n CROSS JOIN locks l ON l.tenant = n.value ->> 0 AND l.{{key}} = n.value ->> 1 \
             WHERE {IS_REMOVABLE}) RETURNING tenant, {{key}}"
        )),
        Dialect::Postgres => dialect.sql(&format!(
            "/* delete_tombstones */ DELETE FROM locks WHERE ctid = ANY (ARRAY(SELECT l.ctid \
             FROM unnest(?::text[], ?::text[]) AS n (tenant, {{key}}) CROSS JOIN LATERAL \
             (SELECT l.ctid FROM locks l WHERE l.tenant = n.tenant AND l.{{key}} = n.{{key}} \
             AND {IS_REMOVABLE} LIMIT 1 FOR UPDATE SKIP LOCKED) AS l)) RETURNING tenant, {{key}}"
        )),
        Dialect::MariaDb | Dialect::MySql => {
            dialect.sql(&format!("/* delete_tombstones */\nDELETE l\n{}", mysql::FROM_KEYS))
        }
    }
}
