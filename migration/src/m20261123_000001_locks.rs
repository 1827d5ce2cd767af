//! The keys: a row a lock, semaphore or tombstone. `prev_stamp` is what the last write was decided on: conditional
//! upserts compare it with the row's `stamp`.

use sea_orm_migration::prelude::*;

use crate::dialect::{Ddl, drop_table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const DDL: Ddl = Ddl {
    sqlite: &[
        r#"CREATE TABLE IF NOT EXISTS locks (
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
) WITHOUT ROWID"#,
        r#"CREATE INDEX IF NOT EXISTS locks_sweep_at ON locks (sweep_at_ms) WHERE sweep_at_ms IS NOT NULL"#,
    ],
    postgres: &[
        r#"CREATE TABLE IF NOT EXISTS locks (
    tenant text COLLATE "C" NOT NULL,
    "key" text COLLATE "C" NOT NULL,
    stamp uuid NOT NULL,
    prev_stamp uuid,
    kind smallint NOT NULL,
    token bigint NOT NULL,
    data text,
    version uuid,
    chosen boolean NOT NULL,
    owner text COLLATE "C",
    lease_ms bigint,
    acquired_at_ms bigint,
    expires_at_ms bigint,
    released boolean NOT NULL,
    delete_on_release boolean NOT NULL,
    nonce bigint,
    ended bytea NOT NULL,
    max_size integer,
    slots integer NOT NULL,
    waiters bigint NOT NULL,
    next_seq bigint NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    sweep_at_ms bigint,
    PRIMARY KEY (tenant, "key")
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"#,
        r#"CREATE INDEX IF NOT EXISTS locks_sweep_at ON locks (sweep_at_ms) WHERE sweep_at_ms IS NOT NULL"#,
    ],
    mysql: &[r#"CREATE TABLE IF NOT EXISTS locks (
    tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    `key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    stamp BINARY(16) NOT NULL,
    prev_stamp BINARY(16),
    kind SMALLINT NOT NULL,
    token BIGINT NOT NULL,
    data MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE {binary},
    version BINARY(16),
    chosen BOOLEAN NOT NULL,
    owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary},
    lease_ms BIGINT,
    acquired_at_ms BIGINT,
    expires_at_ms BIGINT,
    released BOOLEAN NOT NULL,
    delete_on_release BOOLEAN NOT NULL,
    nonce BIGINT,
    ended VARBINARY(128) NOT NULL,
    max_size INT,
    slots INT NOT NULL,
    waiters BIGINT NOT NULL,
    next_seq BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    sweep_at_ms BIGINT,
    PRIMARY KEY (tenant, `key`),
    KEY locks_sweep_at (sweep_at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#],
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DDL.run(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "locks").await
    }
}
