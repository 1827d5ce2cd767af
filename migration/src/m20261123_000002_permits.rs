//! The table of the permits: a row for each slot of a semaphore that was ever granted.

use crate::{Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261123_000002_permits",
    oldest: None,
    up: Sql {
        sqlite: &[
            r#"CREATE TABLE IF NOT EXISTS permits (
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
    data TEXT,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, "key", slot)
) WITHOUT ROWID"#,
            r#"CREATE INDEX IF NOT EXISTS permits_by_end ON permits (tenant, "key", expires_at_ms, slot)"#,
            r#"CREATE INDEX IF NOT EXISTS permits_by_version ON permits (tenant, "key", version)"#,
        ],
        postgres: &[
            r#"CREATE TABLE IF NOT EXISTS permits (
    tenant text COLLATE "C" NOT NULL,
    "key" text COLLATE "C" NOT NULL,
    slot integer NOT NULL,
    version uuid NOT NULL,
    chosen boolean NOT NULL,
    token bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    lease_ms bigint NOT NULL,
    acquired_at_ms bigint NOT NULL,
    expires_at_ms bigint NOT NULL,
    released boolean NOT NULL,
    nonce bigint NOT NULL,
    data text,
    updated_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant, "key", slot)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"#,
            r#"CREATE INDEX IF NOT EXISTS permits_by_end ON permits (tenant, "key", expires_at_ms, slot)"#,
            r#"CREATE INDEX IF NOT EXISTS permits_by_version ON permits (tenant, "key", version)"#,
        ],
        mysql: &[r#"CREATE TABLE IF NOT EXISTS permits (
    tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    `key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    slot INT NOT NULL,
    version BINARY(16) NOT NULL,
    chosen BOOLEAN NOT NULL,
    token BIGINT NOT NULL,
    owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    lease_ms BIGINT NOT NULL,
    acquired_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    released BOOLEAN NOT NULL,
    nonce BIGINT NOT NULL,
    data MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE {binary},
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, `key`, slot),
    KEY permits_by_end (tenant, `key`, expires_at_ms, slot),
    KEY permits_by_version (tenant, `key`, version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#],
    },
    down: Sql {
        sqlite: &[r#"DROP TABLE IF EXISTS "permits""#],
        postgres: &[r#"DROP TABLE IF EXISTS "permits""#],
        mysql: &["DROP TABLE IF EXISTS `permits`"],
    },
};
