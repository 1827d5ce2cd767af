//! Statements of the sweeper that differ between dialects, or that SeaORM cannot express.

use super::super::dialect::Dialect;

/// Selects tombstones that may be removed: old enough, without a queue, and at or below a floor that has settled.
const SETTLED_TOMBSTONES: &str = "WHERE l.sweep_at_ms IS NOT NULL AND l.sweep_at_ms <= ? AND l.kind = 0 \
                                  AND l.waiters = 0 AND l.token <= (SELECT f.settled_floor FROM token_floors f \
                                  WHERE f.tenant = l.tenant)";

#[derive(Debug)]
pub(in super::super) struct SweepSql {
    /// Raises a tenant's floor, if its previous floor has settled.
    pub(in super::super) raise_floor: String,
    /// Deletes tombstones; on MariaDB and MySQL it locks and lists them.
    pub(in super::super) delete_tombstones: String,
    /// Deletes a listed tombstone.
    pub(in super::super) delete_tombstone: String,
    pub(in super::super) lead_sweep: String,
}

impl SweepSql {
    /// These statements in a dialect.
    pub(super) fn new(dialect: Dialect) -> Self {
        let (raise_floor, lead_sweep) = match dialect {
            Dialect::Sqlite | Dialect::Postgres => (
                "ON CONFLICT (tenant) DO UPDATE SET {floor} = excluded.{floor}, \
                 raised_at_ms = excluded.raised_at_ms WHERE token_floors.{floor} < excluded.{floor} \
                 AND token_floors.settled_floor = token_floors.{floor}",
                "ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms \
                 WHERE sweep_lease.holder = excluded.holder OR sweep_lease.expires_at_ms <= {now}",
            ),
            // An assignment sees the results of earlier ones: the columns that the conditions compare come last.
            Dialect::MariaDb | Dialect::MySql => (
                "ON DUPLICATE KEY UPDATE \
                 raised_at_ms = IF(settled_floor = {floor} AND {floor} < VALUES({floor}), VALUES(raised_at_ms), \
                 raised_at_ms), \
                 {floor} = IF(settled_floor = {floor} AND {floor} < VALUES({floor}), VALUES({floor}), {floor})",
                "ON DUPLICATE KEY UPDATE \
                 holder = IF(expires_at_ms <= {now}, VALUES(holder), holder), \
                 expires_at_ms = IF(holder = VALUES(holder), VALUES(expires_at_ms), expires_at_ms)",
            ),
        };
        let delete_tombstones = match dialect {
            Dialect::Sqlite => format!(
                "/* delete_tombstones */ DELETE FROM locks WHERE (tenant, {{key}}) IN (SELECT l.tenant, l.{{key}} \
                 FROM locks l {SETTLED_TOMBSTONES} ORDER BY l.tenant, l.{{key}} LIMIT ?)"
            ),
            Dialect::Postgres => format!(
                "/* delete_tombstones */ DELETE FROM locks WHERE (tenant, {{key}}) IN (SELECT l.tenant, l.{{key}} \
                 FROM locks l {SETTLED_TOMBSTONES} ORDER BY l.tenant, l.{{key}} LIMIT ? FOR UPDATE SKIP LOCKED)"
            ),
            Dialect::MariaDb | Dialect::MySql => format!(
                "/* lock_tombstones */ SELECT l.tenant, l.{{key}} FROM locks l {SETTLED_TOMBSTONES} \
                 ORDER BY l.tenant, l.{{key}} LIMIT ? FOR UPDATE SKIP LOCKED"
            ),
        };
        Self {
            raise_floor: dialect.sql(&format!(
                "/* raise_floor */ INSERT INTO token_floors (tenant, {{floor}}, settled_floor, raised_at_ms) \
                 VALUES (?, ?, 0, {{now}}) {raise_floor}"
            )),
            delete_tombstones: dialect.sql(&delete_tombstones),
            delete_tombstone: dialect
                .sql("/* delete_tombstone */ DELETE FROM locks WHERE tenant = ? AND {key} = ?"),
            lead_sweep: dialect.sql(&format!(
                "/* lead_sweep */ INSERT INTO sweep_lease (id, holder, expires_at_ms) \
                 VALUES (1, ?, {{now}} + ?) {lead_sweep}"
            )),
        }
    }
}
