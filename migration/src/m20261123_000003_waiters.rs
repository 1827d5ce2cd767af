//! The table of the waiters: a row for each, in the order of `seq`. A row without a `replica` is a detached waiter, whose
//! place is kept until `detached_until_ms`. `offered_until_ms` is set while a grant is offered to the waiter.

use crate::{Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261123_000003_waiters",
    oldest: None,
    up: Sql {
        sqlite: &[
            r#"CREATE TABLE IF NOT EXISTS waiters (
    tenant TEXT NOT NULL,
    "key" TEXT NOT NULL,
    seq INTEGER NOT NULL,
    version BLOB NOT NULL,
    chosen BOOLEAN NOT NULL,
    owner TEXT NOT NULL,
    lease_ms INTEGER NOT NULL,
    data TEXT,
    replace_data BOOLEAN NOT NULL,
    delete_on_release BOOLEAN NOT NULL,
    replica BLOB,
    nonce INTEGER,
    offered_until_ms INTEGER,
    detached_until_ms INTEGER,
    PRIMARY KEY (tenant, "key", seq)
) WITHOUT ROWID"#,
            r#"CREATE INDEX IF NOT EXISTS waiters_by_version ON waiters (tenant, "key", version)"#,
            r#"CREATE INDEX IF NOT EXISTS waiters_by_replica ON waiters (replica, offered_until_ms)"#,
            r#"CREATE INDEX IF NOT EXISTS waiters_detached ON waiters (detached_until_ms) WHERE detached_until_ms IS NOT NULL"#,
        ],
        postgres: &[
            r#"CREATE TABLE IF NOT EXISTS waiters (
    tenant text COLLATE "C" NOT NULL,
    "key" text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    version uuid NOT NULL,
    chosen boolean NOT NULL,
    owner text COLLATE "C" NOT NULL,
    lease_ms bigint NOT NULL,
    data text,
    replace_data boolean NOT NULL,
    delete_on_release boolean NOT NULL,
    replica uuid,
    nonce bigint,
    offered_until_ms bigint,
    detached_until_ms bigint,
    PRIMARY KEY (tenant, "key", seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"#,
            r#"CREATE INDEX IF NOT EXISTS waiters_by_version ON waiters (tenant, "key", version)"#,
            r#"CREATE INDEX IF NOT EXISTS waiters_by_replica ON waiters (replica, offered_until_ms)"#,
            r#"CREATE INDEX IF NOT EXISTS waiters_detached ON waiters (detached_until_ms) WHERE detached_until_ms IS NOT NULL"#,
        ],
        mysql: &[r#"CREATE TABLE IF NOT EXISTS waiters (
    tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    `key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    seq BIGINT NOT NULL,
    version BINARY(16) NOT NULL,
    chosen BOOLEAN NOT NULL,
    owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    lease_ms BIGINT NOT NULL,
    data MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE {binary},
    replace_data BOOLEAN NOT NULL,
    delete_on_release BOOLEAN NOT NULL,
    replica BINARY(16),
    nonce BIGINT,
    offered_until_ms BIGINT,
    detached_until_ms BIGINT,
    PRIMARY KEY (tenant, `key`, seq),
    KEY waiters_by_version (tenant, `key`, version),
    KEY waiters_by_replica (replica, offered_until_ms),
    KEY waiters_detached (detached_until_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#],
    },
    down: Sql {
        sqlite: &[r#"DROP TABLE IF EXISTS "waiters""#],
        postgres: &[r#"DROP TABLE IF EXISTS "waiters""#],
        mysql: &["DROP TABLE IF EXISTS `waiters`"],
    },
};
