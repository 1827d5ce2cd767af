//! The replicas that have waiters, each with a counter that it counts up every second.

use sea_orm_migration::prelude::*;

use crate::dialect::{Ddl, drop_table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const DDL: Ddl = Ddl {
    sqlite: &[r#"CREATE TABLE IF NOT EXISTS replicas (
    id BLOB NOT NULL,
    beat INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    PRIMARY KEY (id)
) WITHOUT ROWID"#],
    postgres: &[r#"CREATE TABLE IF NOT EXISTS replicas (
    id uuid NOT NULL,
    beat bigint NOT NULL,
    started_at_ms bigint NOT NULL,
    PRIMARY KEY (id)
)"#],
    mysql: &[r#"CREATE TABLE IF NOT EXISTS replicas (
    id BINARY(16) NOT NULL,
    beat BIGINT NOT NULL,
    started_at_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#],
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DDL.run(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "replicas").await
    }
}
