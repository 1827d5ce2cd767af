//! What sweeping needs: the floor of each tenant above which new keys begin their tokens, and the lease of the one
//! replica that sweeps.

use sea_orm_migration::prelude::*;

use crate::dialect::{Ddl, drop_table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const DDL: Ddl = Ddl {
    sqlite: &[
        r#"CREATE TABLE IF NOT EXISTS token_floors (
    tenant TEXT NOT NULL,
    floor INTEGER NOT NULL,
    settled_floor INTEGER NOT NULL,
    raised_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant)
) WITHOUT ROWID"#,
        r#"CREATE TABLE IF NOT EXISTS sweep_lease (
    id INTEGER NOT NULL,
    holder BLOB NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (id)
)"#,
    ],
    postgres: &[
        r#"CREATE TABLE IF NOT EXISTS token_floors (
    tenant text COLLATE "C" NOT NULL,
    floor bigint NOT NULL,
    settled_floor bigint NOT NULL,
    raised_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant)
)"#,
        r#"CREATE TABLE IF NOT EXISTS sweep_lease (
    id integer NOT NULL,
    holder uuid NOT NULL,
    expires_at_ms bigint NOT NULL,
    PRIMARY KEY (id)
)"#,
    ],
    mysql: &[
        r#"CREATE TABLE IF NOT EXISTS token_floors (
    tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    `floor` BIGINT NOT NULL,
    settled_floor BIGINT NOT NULL,
    raised_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#,
        r#"CREATE TABLE IF NOT EXISTS sweep_lease (
    id INT NOT NULL,
    holder BINARY(16) NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#,
    ],
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DDL.run(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "sweep_lease").await?;
        drop_table(manager, "token_floors").await
    }
}
