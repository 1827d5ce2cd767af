//! SQLite's hot path, written out.
//!
//! A commit is one script, sent in one piece: every statement and every row that comes back is a hand-over between two
//! threads, which costs more than the statement. So the upsert tells nothing, what hangs on rows finds out by their stamps
//! which of them were won, and one row at the end tells all stamps.

/// Conditional upsert of keys' rows; `{rows}` stands for as many `(?, …)` as the batch is rounded up to. Rows without a
/// tenant only fill it up.
///
/// A write decided on a row (`prev_stamp`, the fourth column) never creates one: the row may have been swept meanwhile. One
/// that creates begins its tokens above the tenant's floor, read in this very statement.
pub(super) const UPSERT: &str = r#"/* commit */
INSERT INTO locks (
    tenant, "key", stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms)
SELECT
    n.column1, n.column2, n.column3, n.column4, n.column5,
    n.column6 + CASE WHEN n.column4 IS NULL THEN coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = n.column1), 0) ELSE 0 END,
    n.column7, n.column8, n.column9, n.column10, n.column11, n.column12, n.column13, n.column14,
    n.column15, n.column16, n.column17, n.column18, n.column19, n.column20, n.column21, n.column22,
    n.column23, n.column24
FROM (VALUES {rows}) AS n
WHERE n.column1 IS NOT NULL
    AND (n.column4 IS NULL OR EXISTS (SELECT 1 FROM locks l WHERE l.tenant = n.column1 AND l."key" = n.column2))
ON CONFLICT (tenant, "key") DO UPDATE SET
    stamp = excluded.stamp, kind = excluded.kind, token = excluded.token,
    data = excluded.data, version = excluded.version, chosen = excluded.chosen, owner = excluded.owner,
    lease_ms = excluded.lease_ms, acquired_at_ms = excluded.acquired_at_ms,
    expires_at_ms = excluded.expires_at_ms, released = excluded.released,
    delete_on_release = excluded.delete_on_release, nonce = excluded.nonce, ended = excluded.ended,
    max_size = excluded.max_size, slots = excluded.slots, waiters = excluded.waiters,
    next_seq = excluded.next_seq, created_at_ms = excluded.created_at_ms,
    updated_at_ms = excluded.updated_at_ms, sweep_at_ms = excluded.sweep_at_ms
WHERE locks.stamp = excluded.prev_stamp"#;

/// Waiters that go.
pub(super) const WAITERS_GONE: &str = r#"/* waiters_gone */
DELETE FROM waiters
WHERE (tenant, "key", seq) IN (
    SELECT x.value ->> 0, x.value ->> 1, x.value ->> 2
    FROM json_each(?) AS x
    CROSS JOIN locks l ON l.tenant = x.value ->> 0 AND l."key" = x.value ->> 1
    WHERE l.stamp = unhex(x.value ->> 3)
)"#;

/// Waiters that come or change.
pub(super) const WAITERS_PUT: &str = r#"/* waiters_put */
INSERT INTO waiters (
    tenant, "key", seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, replica,
    nonce, offered_until_ms, detached_until_ms)
SELECT
    x.value ->> 0, x.value ->> 1, x.value ->> 2, unhex(x.value ->> 3), x.value ->> 4, x.value ->> 5,
    x.value ->> 6, x.value ->> 7, x.value ->> 8, x.value ->> 9, unhex(x.value ->> 10), x.value ->> 11,
    x.value ->> 12, x.value ->> 13
FROM json_each(?) AS x
CROSS JOIN locks l ON l.tenant = x.value ->> 0 AND l."key" = x.value ->> 1
WHERE l.stamp = unhex(x.value ->> 14)
ON CONFLICT (tenant, "key", seq) DO UPDATE SET
    replica = excluded.replica, nonce = excluded.nonce, offered_until_ms = excluded.offered_until_ms,
    detached_until_ms = excluded.detached_until_ms"#;

/// Permits that come or change.
pub(super) const PERMITS_PUT: &str = r#"/* permits_put */
INSERT INTO permits (
    tenant, "key", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, released,
    nonce, data, updated_at_ms)
SELECT
    x.value ->> 0, x.value ->> 1, x.value ->> 2, unhex(x.value ->> 3), x.value ->> 4, x.value ->> 5,
    x.value ->> 6, x.value ->> 7, x.value ->> 8, x.value ->> 9, x.value ->> 10, x.value ->> 11,
    x.value ->> 12, x.value ->> 13
FROM json_each(?) AS x
CROSS JOIN locks l ON l.tenant = x.value ->> 0 AND l."key" = x.value ->> 1
WHERE l.stamp = unhex(x.value ->> 14)
ON CONFLICT (tenant, "key", slot) DO UPDATE SET
    version = excluded.version, chosen = excluded.chosen, token = excluded.token, owner = excluded.owner,
    lease_ms = excluded.lease_ms, acquired_at_ms = excluded.acquired_at_ms,
    expires_at_ms = excluded.expires_at_ms, released = excluded.released, nonce = excluded.nonce,
    data = excluded.data, updated_at_ms = excluded.updated_at_ms"#;

/// Which stamps stand, with their tokens, the time, and whether others have written: one row.
pub(super) const READ_BACK: &str = r#"/* read_back */
SELECT group_concat(hex(l.stamp) || ':' || l.token, ' '), CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER),
    (SELECT v.data_version FROM pragma_data_version AS v)
FROM json_each(?) AS x
CROSS JOIN locks l ON l.tenant = x.value ->> 0 AND l."key" = x.value ->> 1"#;

/// Keys' rows with the time, a row a key asked for.
pub(super) const LOAD_ROWS: &str = r#"/* load */
SELECT n."key" + 1, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER),
    l.tenant, l."key", l.stamp, l.prev_stamp, l.kind, l.token, l.data, l.version, l.chosen, l.owner,
    l.lease_ms, l.acquired_at_ms, l.expires_at_ms, l.released, l.delete_on_release, l.nonce, l.ended,
    l.max_size, l.slots, l.waiters, l.next_seq, l.created_at_ms, l.updated_at_ms, l.sweep_at_ms
FROM json_each(?) AS n
LEFT JOIN locks l ON l.tenant = n.value ->> 0 AND l."key" = n.value ->> 1"#;
