//! On SQLite, moves waiters and permits to tables with row ids and an index, as the keys before. In a table without row ids
//! each comparison on the way to a row reads the whole row, with all of its data. Their data is the last column now, so
//! that reading the others does not read it.

use crate::{EPOCH, Migration, Sql};

macro_rules! rebuild {
    ($options:literal) => {
        Sql {
            sqlite: &[
                concat!(
                    r#"CREATE TABLE waiters_rebuilt (
    tenant TEXT NOT NULL,
    "key" TEXT NOT NULL,
    seq INTEGER NOT NULL,
    version BLOB NOT NULL,
    chosen BOOLEAN NOT NULL,
    owner TEXT NOT NULL,
    lease_ms INTEGER NOT NULL,
    replace_data BOOLEAN NOT NULL,
    delete_on_release BOOLEAN NOT NULL,
    replica BLOB,
    nonce INTEGER,
    offered_until_ms INTEGER,
    detached_until_ms INTEGER,
    data TEXT,
    PRIMARY KEY (tenant, "key", seq)
)"#,
                    $options
                ),
                r#"INSERT INTO waiters_rebuilt SELECT
    tenant, "key", seq, version, chosen, owner, lease_ms, replace_data, delete_on_release, replica, nonce,
    offered_until_ms, detached_until_ms, data
FROM waiters ORDER BY tenant, "key", seq"#,
                "DROP TABLE waiters",
                "ALTER TABLE waiters_rebuilt RENAME TO waiters",
                r#"CREATE INDEX waiters_by_version ON waiters (tenant, "key", version)"#,
                "CREATE INDEX waiters_by_replica ON waiters (replica, offered_until_ms)",
                "CREATE INDEX waiters_detached ON waiters (detached_until_ms) WHERE detached_until_ms IS NOT NULL",
                concat!(
                    r#"CREATE TABLE permits_rebuilt (
    tenant TEXT NOT NULL,
    "key" TEXT NOT NULL,
    slot INTEGER NOT NULL,
    version BLOB NOT NULL,
    chosen BOOLEAN NOT NULL,
    token INTEGER NOT NULL,
    owner TEXT NOT NULL,
    lease_ms INTEGER NOT NULL,
    acquired_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    released BOOLEAN NOT NULL,
    nonce INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    data TEXT,
    PRIMARY KEY (tenant, "key", slot)
)"#,
                    $options
                ),
                r#"INSERT INTO permits_rebuilt SELECT
    tenant, "key", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, released, nonce,
    updated_at_ms, data
FROM permits ORDER BY tenant, "key", slot"#,
                "DROP TABLE permits",
                "ALTER TABLE permits_rebuilt RENAME TO permits",
                r#"CREATE INDEX permits_by_end ON permits (tenant, "key", expires_at_ms, slot)"#,
                r#"CREATE INDEX permits_by_version ON permits (tenant, "key", version)"#,
            ],
            postgres: &[],
            mysql: &[],
        }
    };
}

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261130_000014_children_by_rowid",
    // The same tables with the same columns, stored in another way.
    oldest: Some(EPOCH),
    // All migrations of SQLite run in one transaction: one that was cut off left nothing.
    up: rebuild!(""),
    down: rebuild!(" WITHOUT ROWID"),
};
