//! The hot path of MariaDB and MySQL, written out.
//!
//! `ON DUPLICATE KEY UPDATE` has no condition, so every assignment bears it: `IF(row_version = VALUES(prev_stamp), …)`. Assignments
//! see those before them, so the guard, `row_version`, comes last. How many rows were affected tells nothing (the driver asks for
//! found rows); whose row version stands afterwards tells who won.
//!
//! A write decided on a row must not create one: the row may have been swept meanwhile. A row that was created so bears a
//! `prev_stamp`, which no other row does; MariaDB's statement undoes itself then, and on MySQL the row is taken away again.

use std::sync::{Arc, OnceLock};

/// Conditional upserts of keys' rows, a text for each number of rows. Values lists are what these servers carry out fastest:
/// a row out of `JSON_TABLE` took four times as long, since each column scans the row's text anew.
///
/// A batch is filled up with its last row to the next number that has a text: written a second time, a row no longer bears
/// the row version that the write was decided on.
#[derive(Debug)]
pub(in super::super) struct Upserts {
    returning: &'static str,
    /// By shape and number of rows; made when they are first needed.
    texts: [[OnceLock<Arc<str>>; ROWS.len()]; 2],
}

/// How many rows a statement may have. Each is at most half more than the one before, so little is written twice.
const ROWS: [usize; 18] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256];

/// The rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shape {
    /// All of them were there.
    Known,
    /// Some may be new. Each row has one more value behind its token: the tenant above whose floor its tokens begin, which is
    /// read in this very statement, or NULL where the row was there.
    Mixed,
}

impl Upserts {
    /// With what the statement answers by itself.
    pub(super) fn new(returning: &'static str) -> Self {
        Self { returning, texts: Default::default() }
    }

    /// The statement for at least so many rows, and how many it wants. `None` where no statement has so many.
    pub(in super::super) fn of(&self, shape: Shape, rows: usize) -> Option<(usize, Arc<str>)> {
        let index = ROWS.partition_point(|&size| size < rows);
        let size = *ROWS.get(index)?;
        let texts = match shape {
            Shape::Known => &self.texts[0],
            Shape::Mixed => &self.texts[1],
        };
        Some((size, texts[index].get_or_init(|| self.text(shape, size).into()).clone()))
    }

    fn text(&self, shape: Shape, rows: usize) -> String {
        let row = match shape {
            Shape::Known => KNOWN_ROW,
            Shape::Mixed => MIXED_ROW,
        };
        [UPSERT_HEAD, &vec![row; rows].join(",\n"), UPSERT_TAIL, self.returning].concat()
    }
}

const UPSERT_HEAD: &str = r"/* commit */
INSERT INTO locks (
    tenant, `key`, stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms)
VALUES
";

const KNOWN_ROW: &str = "    (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const MIXED_ROW: &str = "    (?, ?, ?, ?, ?, ? + COALESCE((SELECT f.`floor` FROM token_floors f WHERE f.tenant = ?), 0), \
                         ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const UPSERT_TAIL: &str = r"
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

/// What MariaDB's [`Upserts`] answer by themselves: the rows as they stand, whoever won. The last column overflows, which
/// undoes the whole statement, where a row was created by a write that was decided on one.
pub(super) const RETURNING: &str = "\nRETURNING stamp, token, CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED), \
                                    9223372036854775807 + (prev_stamp IS NOT NULL)";

/// Whose row versions stand, for MySQL, and whether a row was created by a write that was decided on one.
pub(super) const READ_BACK: &str = r"/* read_back */
SELECT l.stamp, l.token, CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED), l.prev_stamp IS NOT NULL,
    l.tenant, l.`key`
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
