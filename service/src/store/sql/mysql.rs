//! The hot path of MariaDB and MySQL, written out.
//!
//! `ON DUPLICATE KEY UPDATE` has no condition, so every assignment bears it: `IF(stamp = VALUES(prev_stamp), …)`. Assignments
//! see those before them, so the guard, `stamp`, comes last. How many rows were affected tells nothing (the driver asks for
//! found rows); whose stamp stands afterwards tells who won.

/// Conditional upsert of keys' rows.
///
/// A write decided on a row (`prev_stamp`, the fourth column) never creates one: the row may have been swept meanwhile. One
/// that creates begins its tokens above the tenant's floor, read in this very statement.
pub(super) const UPSERT: &str = r"/* commit */
INSERT INTO locks (
    tenant, `key`, stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms)
SELECT
    n.c1, n.c2, UNHEX(n.c3), UNHEX(n.c4), n.c5,
    n.c6 + IF(n.c4 IS NULL, COALESCE((SELECT f.`floor` FROM token_floors f WHERE f.tenant = n.c1 COLLATE {binary}), 0), 0),
    n.c7, UNHEX(n.c8), n.c9, n.c10, n.c11, n.c12, n.c13, n.c14, n.c15, n.c16, UNHEX(n.c17), n.c18, n.c19,
    n.c20, n.c21, n.c22, n.c23, n.c24
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]',
        c3 CHAR(32) PATH '$[2]',
        c4 CHAR(32) PATH '$[3]',
        c5 SMALLINT PATH '$[4]',
        c6 BIGINT PATH '$[5]',
        c7 MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$[6]',
        c8 CHAR(32) PATH '$[7]',
        c9 TINYINT PATH '$[8]',
        c10 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[9]',
        c11 BIGINT PATH '$[10]',
        c12 BIGINT PATH '$[11]',
        c13 BIGINT PATH '$[12]',
        c14 TINYINT PATH '$[13]',
        c15 TINYINT PATH '$[14]',
        c16 BIGINT PATH '$[15]',
        c17 VARCHAR(256) PATH '$[16]',
        c18 INT PATH '$[17]',
        c19 INT PATH '$[18]',
        c20 BIGINT PATH '$[19]',
        c21 BIGINT PATH '$[20]',
        c22 BIGINT PATH '$[21]',
        c23 BIGINT PATH '$[22]',
        c24 BIGINT PATH '$[23]'
    )) AS n
WHERE n.c4 IS NULL
    OR EXISTS (SELECT 1 FROM locks l WHERE l.tenant = n.c1 COLLATE {binary} AND l.`key` = n.c2 COLLATE {binary})
ON DUPLICATE KEY UPDATE
    kind = IF(locks.stamp = VALUES(prev_stamp), VALUES(kind), locks.kind),
    token = IF(locks.stamp = VALUES(prev_stamp), VALUES(token), locks.token),
    data = IF(locks.stamp = VALUES(prev_stamp), VALUES(data), locks.data),
    version = IF(locks.stamp = VALUES(prev_stamp), VALUES(version), locks.version),
    chosen = IF(locks.stamp = VALUES(prev_stamp), VALUES(chosen), locks.chosen),
    owner = IF(locks.stamp = VALUES(prev_stamp), VALUES(owner), locks.owner),
    lease_ms = IF(locks.stamp = VALUES(prev_stamp), VALUES(lease_ms), locks.lease_ms),
    acquired_at_ms = IF(locks.stamp = VALUES(prev_stamp), VALUES(acquired_at_ms), locks.acquired_at_ms),
    expires_at_ms = IF(locks.stamp = VALUES(prev_stamp), VALUES(expires_at_ms), locks.expires_at_ms),
    released = IF(locks.stamp = VALUES(prev_stamp), VALUES(released), locks.released),
    delete_on_release = IF(locks.stamp = VALUES(prev_stamp), VALUES(delete_on_release), locks.delete_on_release),
    nonce = IF(locks.stamp = VALUES(prev_stamp), VALUES(nonce), locks.nonce),
    ended = IF(locks.stamp = VALUES(prev_stamp), VALUES(ended), locks.ended),
    max_size = IF(locks.stamp = VALUES(prev_stamp), VALUES(max_size), locks.max_size),
    slots = IF(locks.stamp = VALUES(prev_stamp), VALUES(slots), locks.slots),
    waiters = IF(locks.stamp = VALUES(prev_stamp), VALUES(waiters), locks.waiters),
    next_seq = IF(locks.stamp = VALUES(prev_stamp), VALUES(next_seq), locks.next_seq),
    created_at_ms = IF(locks.stamp = VALUES(prev_stamp), VALUES(created_at_ms), locks.created_at_ms),
    updated_at_ms = IF(locks.stamp = VALUES(prev_stamp), VALUES(updated_at_ms), locks.updated_at_ms),
    sweep_at_ms = IF(locks.stamp = VALUES(prev_stamp), VALUES(sweep_at_ms), locks.sweep_at_ms),
    stamp = IF(locks.stamp = VALUES(prev_stamp), VALUES(stamp), locks.stamp)";

/// What MariaDB's [`UPSERT`] answers by itself: the rows as they stand, whoever won.
pub(super) const RETURNING: &str =
    "\nRETURNING stamp, token, CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED)";

/// Whose stamps stand, for MySQL.
pub(super) const READ_BACK: &str = r"/* read_back */
SELECT l.stamp, l.token, CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED)
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]'
    )) AS n
STRAIGHT_JOIN locks l ON l.tenant = n.c1 COLLATE {binary} AND l.`key` = n.c2 COLLATE {binary}";

/// Waiters that go.
pub(super) const WAITERS_GONE: &str = r"/* waiters_gone */
DELETE w
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]',
        c3 BIGINT PATH '$[2]'
    )) AS n
STRAIGHT_JOIN waiters w
    ON w.tenant = n.c1 COLLATE {binary} AND w.`key` = n.c2 COLLATE {binary} AND w.seq = n.c3";

/// Waiters that come or change.
pub(super) const WAITERS_PUT: &str = r"/* waiters_put */
INSERT INTO waiters (
    tenant, `key`, seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, replica,
    nonce, offered_until_ms, detached_until_ms)
SELECT
    n.c1, n.c2, n.c3, UNHEX(n.c4), n.c5, n.c6, n.c7, n.c8, n.c9, n.c10, UNHEX(n.c11), n.c12, n.c13, n.c14
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]',
        c3 BIGINT PATH '$[2]',
        c4 CHAR(32) PATH '$[3]',
        c5 TINYINT PATH '$[4]',
        c6 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[5]',
        c7 BIGINT PATH '$[6]',
        c8 MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$[7]',
        c9 TINYINT PATH '$[8]',
        c10 TINYINT PATH '$[9]',
        c11 CHAR(32) PATH '$[10]',
        c12 BIGINT PATH '$[11]',
        c13 BIGINT PATH '$[12]',
        c14 BIGINT PATH '$[13]'
    )) AS n
ON DUPLICATE KEY UPDATE
    replica = VALUES(replica), nonce = VALUES(nonce), offered_until_ms = VALUES(offered_until_ms),
    detached_until_ms = VALUES(detached_until_ms)";

/// Permits that come or change.
pub(super) const PERMITS_PUT: &str = r"/* permits_put */
INSERT INTO permits (
    tenant, `key`, slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, released,
    nonce, data, updated_at_ms)
SELECT
    n.c1, n.c2, n.c3, UNHEX(n.c4), n.c5, n.c6, n.c7, n.c8, n.c9, n.c10, n.c11, n.c12, n.c13, n.c14
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]',
        c3 INT PATH '$[2]',
        c4 CHAR(32) PATH '$[3]',
        c5 TINYINT PATH '$[4]',
        c6 BIGINT PATH '$[5]',
        c7 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[6]',
        c8 BIGINT PATH '$[7]',
        c9 BIGINT PATH '$[8]',
        c10 BIGINT PATH '$[9]',
        c11 TINYINT PATH '$[10]',
        c12 BIGINT PATH '$[11]',
        c13 MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$[12]',
        c14 BIGINT PATH '$[13]'
    )) AS n
ON DUPLICATE KEY UPDATE
    version = VALUES(version), chosen = VALUES(chosen), token = VALUES(token), owner = VALUES(owner),
    lease_ms = VALUES(lease_ms), acquired_at_ms = VALUES(acquired_at_ms),
    expires_at_ms = VALUES(expires_at_ms), released = VALUES(released), nonce = VALUES(nonce),
    data = VALUES(data), updated_at_ms = VALUES(updated_at_ms)";

/// Keys' rows with the time, a row a key asked for.
pub(super) const LOAD_ROWS: &str = r"/* load */
SELECT CAST(n.n AS SIGNED), CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED),
    l.tenant, l.`key`, l.stamp, l.prev_stamp, l.kind, l.token, l.data, l.version, l.chosen, l.owner,
    l.lease_ms, l.acquired_at_ms, l.expires_at_ms, l.released, l.delete_on_release, l.nonce, l.ended,
    l.max_size, l.slots, l.waiters, l.next_seq, l.created_at_ms, l.updated_at_ms, l.sweep_at_ms
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        n FOR ORDINALITY,
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]'
    )) AS n
LEFT JOIN locks l ON l.tenant = n.c1 COLLATE {binary} AND l.`key` = n.c2 COLLATE {binary}";
