//! The table of the guards: a narrow row for each guarded lock, and for each slot of a guarded semaphore, which names the grant
//! whose transactions may commit. `db_locks_guard` keeps it locked in transactions of users. The routines are not made here: a
//! database where they cannot be made is of use all the same.

use crate::{ENDED_VERSIONS, Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261127_000009_guards",
    // Older programs take the row of a guarded key for one that they cannot read, and leave it alone.
    oldest: Some(ENDED_VERSIONS),
    up: Sql {
        sqlite: &[r#"CREATE TABLE IF NOT EXISTS db_locks_guards (
    tenant TEXT NOT NULL,
    "key" TEXT NOT NULL,
    slot INTEGER NOT NULL,
    version BLOB,
    previous BLOB,
    token INTEGER NOT NULL,
    granted_at INTEGER NOT NULL,
    identity TEXT NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (tenant, "key", slot)
) WITHOUT ROWID"#],
        postgres: &[r#"CREATE TABLE IF NOT EXISTS db_locks_guards (
    tenant text COLLATE "C" NOT NULL,
    "key" text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    version uuid,
    previous uuid,
    token bigint NOT NULL,
    granted_at timestamptz NOT NULL,
    identity text NOT NULL,
    uses bigint NOT NULL,
    PRIMARY KEY (tenant, "key", slot)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"#],
        mysql: &[r#"CREATE TABLE IF NOT EXISTS db_locks_guards (
    tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    `key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    slot INT NOT NULL,
    version BINARY(16),
    previous BINARY(16),
    token BIGINT NOT NULL,
    granted_at DATETIME(6) NOT NULL,
    identity VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    uses BIGINT NOT NULL,
    PRIMARY KEY (tenant, `key`, slot)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#],
    },
    // Guarded locks go on without their guards.
    down: Sql {
        sqlite: &[
            "DROP VIEW IF EXISTS db_locks_guard",
            "DROP TABLE IF EXISTS db_locks_guards",
            "UPDATE locks SET kind = 1 WHERE kind IN (3, 4, 5, 6)",
            "UPDATE locks SET kind = 2 WHERE kind = 7",
        ],
        postgres: &[
            "DROP FUNCTION IF EXISTS db_locks_guard(text, text, text)",
            "DROP FUNCTION IF EXISTS db_locks_guard(text, uuid, text)",
            "DROP TABLE IF EXISTS db_locks_guards",
            "UPDATE locks SET kind = 1 WHERE kind IN (3, 4, 5, 6)",
            "UPDATE locks SET kind = 2 WHERE kind = 7",
        ],
        mysql: &[
            "DROP PROCEDURE IF EXISTS db_locks_guard",
            "DROP PROCEDURE IF EXISTS db_locks_guard_in",
            "DROP TABLE IF EXISTS db_locks_guards",
            "UPDATE locks SET kind = 1 WHERE kind IN (3, 4, 5, 6)",
            "UPDATE locks SET kind = 2 WHERE kind = 7",
        ],
    },
};
