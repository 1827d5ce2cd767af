//! More ended versions are remembered with a key, and in another form: up to 64, of the last ten minutes. On MySQL and MariaDB
//! their column grows. Earlier programs do not understand the form: they must not write any more.

use sea_orm_migration::prelude::*;

use crate::dialect::Ddl;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const UP: Ddl =
    Ddl { sqlite: &[], postgres: &[], mysql: &["ALTER TABLE locks MODIFY ended VARBINARY(1024) NOT NULL"] };

/// What an earlier program cannot read is forgotten.
const DOWN: Ddl = Ddl {
    sqlite: &["UPDATE locks SET ended = x'' WHERE length(ended) % 16 <> 0"],
    postgres: &["UPDATE locks SET ended = '' WHERE octet_length(ended) % 16 <> 0"],
    mysql: &[
        "UPDATE locks SET ended = '' WHERE LENGTH(ended) % 16 <> 0 OR LENGTH(ended) > 128",
        "ALTER TABLE locks MODIFY ended VARBINARY(128) NOT NULL",
    ],
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        UP.run(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DOWN.run(manager).await
    }
}
