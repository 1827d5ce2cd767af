//! SQLite, written out.
//!
//! One connection writes, on a thread of its own (`store/sqlite`), and calls SQLite without any other thread between. So its
//! statements are the plainest there are: one row each, by primary key, prepared once.

/// A key's new row, where the write was decided on one; `?4` is the row version it was decided on. A write decided on a row never
/// creates one: the row may have been swept meanwhile.
pub(in super::super) const UPDATE: &str = r#"/* commit */
UPDATE locks SET
    stamp = ?3, kind = ?5, token = ?6, data = ?7, version = ?8, chosen = ?9, owner = ?10, lease_ms = ?11,
    acquired_at_ms = ?12, expires_at_ms = ?13, released = ?14, delete_on_release = ?15, nonce = ?16, ended = ?17,
    max_size = ?18, slots = ?19, waiters = ?20, next_seq = ?21, created_at_ms = ?22, updated_at_ms = ?23,
    sweep_at_ms = ?24
WHERE tenant = ?1 AND "key" = ?2 AND stamp = ?4"#;

/// A key's row, where there was none; its tokens begin above the tenant's floor, read in this very statement.
pub(in super::super) const INSERT: &str = r#"/* commit */
INSERT INTO locks (
    tenant, "key", stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms)
VALUES (
    ?1, ?2, ?3, ?5, ?6 + coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = ?1), 0), ?7, ?8, ?9,
    ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)
ON CONFLICT (tenant, "key") DO NOTHING
RETURNING token"#;

/// A waiter that goes.
pub(in super::super) const WAITER_GONE: &str = r#"/* waiters_gone */
DELETE FROM waiters WHERE tenant = ?1 AND "key" = ?2 AND seq = ?3"#;

/// A waiter that comes or changes.
pub(in super::super) const WAITER_PUT: &str = r#"/* waiters_put */
INSERT INTO waiters (
    tenant, "key", seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, replica,
    nonce, offered_until_ms, detached_until_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT (tenant, "key", seq) DO UPDATE SET
    replica = excluded.replica, nonce = excluded.nonce, offered_until_ms = excluded.offered_until_ms,
    detached_until_ms = excluded.detached_until_ms"#;

/// A permit that comes or changes.
pub(in super::super) const PERMIT_PUT: &str = r#"/* permits_put */
INSERT INTO permits (
    tenant, "key", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, released,
    nonce, data, updated_at_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT (tenant, "key", slot) DO UPDATE SET
    version = excluded.version, chosen = excluded.chosen, token = excluded.token, owner = excluded.owner,
    lease_ms = excluded.lease_ms, acquired_at_ms = excluded.acquired_at_ms,
    expires_at_ms = excluded.expires_at_ms, released = excluded.released, nonce = excluded.nonce,
    data = excluded.data, updated_at_ms = excluded.updated_at_ms"#;

/// All permits of a key that becomes something else.
pub(in super::super) const PERMITS_CLEAR: &str = r#"/* permits_clear */
DELETE FROM permits WHERE tenant = ?1 AND "key" = ?2"#;

/// A key's row.
pub(in super::super) const LOAD_ROW: &str = r#"/* load */
SELECT
    tenant, "key", stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms
FROM locks WHERE tenant = ?1 AND "key" = ?2"#;
