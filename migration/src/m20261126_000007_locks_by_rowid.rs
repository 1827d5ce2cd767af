//! On SQLite, moves the keys to a table with row ids and an index. In a table without row ids whole rows are the tree: with
//! pages of 1 KiB it was ten levels high at a million rows, and each new key split pages of full rows.

use crate::{Migration, SWEEPING, Sql};

macro_rules! rebuild {
    ($options:literal) => {
        Sql {
            sqlite: &[
                concat!(
                    r#"CREATE TABLE locks_rebuilt (
    tenant TEXT NOT NULL,
    "key" TEXT NOT NULL,
    stamp BLOB NOT NULL,
    prev_stamp BLOB,
    kind INTEGER NOT NULL,
    token INTEGER NOT NULL,
    data TEXT,
    version BLOB,
    chosen BOOLEAN NOT NULL,
    owner TEXT,
    lease_ms INTEGER,
    acquired_at_ms INTEGER,
    expires_at_ms INTEGER,
    released BOOLEAN NOT NULL,
    delete_on_release BOOLEAN NOT NULL,
    nonce INTEGER,
    ended BLOB NOT NULL,
    max_size INTEGER,
    slots INTEGER NOT NULL,
    waiters INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    sweep_at_ms INTEGER,
    PRIMARY KEY (tenant, "key")
)"#,
                    $options
                ),
                r#"INSERT INTO locks_rebuilt SELECT
    tenant, "key", stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq, created_at_ms,
    updated_at_ms, sweep_at_ms
FROM locks ORDER BY tenant, "key""#,
                "DROP TABLE locks",
                "ALTER TABLE locks_rebuilt RENAME TO locks",
                "CREATE INDEX locks_sweep_at ON locks (sweep_at_ms) WHERE sweep_at_ms IS NOT NULL",
            ],
            postgres: &[],
            mysql: &[],
        }
    };
}

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261126_000007_locks_by_rowid",
    // The same table with the same columns, stored in another way.
    oldest: Some(SWEEPING),
    // All migrations of SQLite run in one transaction: one that was cut off left nothing.
    up: rebuild!(""),
    down: rebuild!(" WITHOUT ROWID"),
};
