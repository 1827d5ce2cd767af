//! Statements of the sweeper.

use super::super::dialect::Dialect;

/// Tombstones that may go: old enough, without a queue, and below a floor that has settled.
const TOMBSTONES_SETTLED: &str = "WHERE l.sweep_at_ms IS NOT NULL AND l.sweep_at_ms <= ? AND l.kind = 0 \
                                  AND l.waiters = 0 AND l.token <= (SELECT f.settled_floor FROM token_floors f \
                                  WHERE f.tenant = l.tenant)";

/// What the sweeper asks.
#[derive(Debug)]
pub(in super::super) struct SweepSql {
    pub(in super::super) lapsed_places: String,
    pub(in super::super) ended_to_delete: String,
    pub(in super::super) idle_mutexes: String,
    pub(in super::super) tombstone_floors: String,
    pub(in super::super) raise_floor: String,
    pub(in super::super) settle_floors: String,
    pub(in super::super) delete_tombstones: String,
    pub(in super::super) lead_sweep: String,
    pub(in super::super) leader: String,
    pub(in super::super) yield_sweep: String,
    pub(in super::super) count_locks_held: String,
    pub(in super::super) count_permits_held: String,
}

impl SweepSql {
    /// These statements in a dialect.
    pub(super) fn new(dialect: Dialect) -> Self {
        let sql = |template: &str| dialect.sql(template);
        let for_update = match dialect {
            Dialect::Sqlite => "",
            Dialect::Postgres | Dialect::MariaDb | Dialect::MySql => " FOR UPDATE SKIP LOCKED",
        };
        Self {
            lapsed_places: sql("/* lapsed_places */ SELECT DISTINCT tenant, {key} FROM waiters \
                 WHERE detached_until_ms IS NOT NULL AND detached_until_ms <= {now} LIMIT ?"),
            ended_to_delete: sql("/* ended_to_delete */ SELECT tenant, {key} FROM locks \
                 WHERE sweep_at_ms IS NOT NULL AND sweep_at_ms <= ? AND kind = 1 LIMIT ?"),
            idle_mutexes: sql(
                "/* idle_mutexes */ SELECT tenant, {key}, kind = 1 AND updated_at_ms <= ? AND waiters = 0 \
                 AND (version IS NULL OR released OR expires_at_ms <= {now}) \
                 FROM locks WHERE tenant > ? OR (tenant = ? AND {key} > ?) ORDER BY tenant, {key} LIMIT ?",
            ),
            tombstone_floors: sql(
                "/* tombstone_floors */ SELECT t.tenant, max(t.token) FROM (SELECT tenant, token FROM locks \
                 WHERE sweep_at_ms IS NOT NULL AND sweep_at_ms <= ? AND kind = 0 AND waiters = 0 \
                 ORDER BY sweep_at_ms LIMIT ?) t GROUP BY t.tenant",
            ),
            raise_floor: sql(match dialect {
                Dialect::Sqlite | Dialect::Postgres => {
                    "/* raise_floor */ INSERT INTO token_floors (tenant, {floor}, settled_floor, raised_at_ms) \
                     VALUES (?, ?, 0, {now}) ON CONFLICT (tenant) DO UPDATE SET {floor} = excluded.{floor}, \
                     raised_at_ms = excluded.raised_at_ms \
                     WHERE token_floors.{floor} < excluded.{floor} \
                     AND token_floors.settled_floor = token_floors.{floor}"
                }
                // Assignments see those before them: what the conditions compare comes last.
                Dialect::MariaDb | Dialect::MySql => {
                    "/* raise_floor */ INSERT INTO token_floors (tenant, {floor}, settled_floor, raised_at_ms) \
                     VALUES (?, ?, 0, {now}) ON DUPLICATE KEY UPDATE \
                     raised_at_ms = IF(settled_floor = {floor} AND {floor} < VALUES({floor}), VALUES(raised_at_ms), \
                     raised_at_ms), \
                     {floor} = IF(settled_floor = {floor} AND {floor} < VALUES({floor}), VALUES({floor}), {floor})"
                }
            }),
            settle_floors: sql("/* settle_floors */ UPDATE token_floors SET settled_floor = {floor} \
                 WHERE settled_floor < {floor} AND raised_at_ms <= {now} - ?"),
            delete_tombstones: sql(&match dialect {
                Dialect::Sqlite | Dialect::Postgres => format!(
                    "/* delete_tombstones */ DELETE FROM locks WHERE (tenant, {{key}}) IN (SELECT l.tenant, l.{{key}} \
                     FROM locks l {TOMBSTONES_SETTLED} ORDER BY l.tenant, l.{{key}} LIMIT ?{for_update})"
                ),
                Dialect::MariaDb | Dialect::MySql => format!(
                    "/* lock_tombstones */ SELECT l.tenant, l.{{key}} FROM locks l {TOMBSTONES_SETTLED} \
                     ORDER BY l.tenant, l.{{key}} LIMIT ?{for_update}"
                ),
            }),
            lead_sweep: sql(match dialect {
                Dialect::Sqlite | Dialect::Postgres => {
                    "/* lead_sweep */ INSERT INTO sweep_lease (id, holder, expires_at_ms) VALUES (1, ?, {now} + ?) \
                     ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms \
                     WHERE sweep_lease.holder = excluded.holder OR sweep_lease.expires_at_ms <= {now}"
                }
                Dialect::MariaDb | Dialect::MySql => {
                    "/* lead_sweep */ INSERT INTO sweep_lease (id, holder, expires_at_ms) VALUES (1, ?, {now} + ?) \
                     ON DUPLICATE KEY UPDATE \
                     holder = IF(expires_at_ms <= {now}, VALUES(holder), holder), \
                     expires_at_ms = IF(holder = VALUES(holder), VALUES(expires_at_ms), expires_at_ms)"
                }
            }),
            leader: sql("/* leader */ SELECT holder FROM sweep_lease WHERE id = 1"),
            yield_sweep: sql(
                "/* yield_sweep */ UPDATE sweep_lease SET expires_at_ms = 0 WHERE id = 1 AND holder = ?",
            ),
            count_locks_held: sql("/* count_locks_held */ SELECT count(*) FROM locks \
                 WHERE kind = 1 AND version IS NOT NULL AND NOT released AND expires_at_ms > {now}"),
            count_permits_held: sql(
                "/* count_permits_held */ SELECT count(*) FROM permits WHERE NOT released AND expires_at_ms > {now}",
            ),
        }
    }
}
