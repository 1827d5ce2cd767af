//! Types for rows as parameters, on PostgreSQL: a batch is one array of rows a table. Their columns are those of the table in
//! its order; `stamp` at the end of a waiter's or permit's is that of the write that brings it.

use sea_orm_migration::prelude::*;

use crate::dialect::Ddl;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const DDL: Ddl = Ddl {
    sqlite: &[],
    postgres: &[
        r#"CREATE TYPE lock_row AS (
    tenant text, "key" text, stamp uuid, prev_stamp uuid, kind smallint, token bigint, data text, version uuid,
    chosen boolean, owner text, lease_ms bigint, acquired_at_ms bigint, expires_at_ms bigint, released boolean,
    delete_on_release boolean, nonce bigint, ended bytea, max_size integer, slots integer, waiters bigint,
    next_seq bigint, created_at_ms bigint, updated_at_ms bigint, sweep_at_ms bigint
)"#,
        r#"CREATE TYPE waiter_row AS (
    tenant text, "key" text, seq bigint, version uuid, chosen boolean, owner text, lease_ms bigint, data text,
    replace_data boolean, delete_on_release boolean, replica uuid, nonce bigint, offered_until_ms bigint,
    detached_until_ms bigint, stamp uuid
)"#,
        r#"CREATE TYPE permit_row AS (
    tenant text, "key" text, slot integer, version uuid, chosen boolean, token bigint, owner text, lease_ms bigint,
    acquired_at_ms bigint, expires_at_ms bigint, released boolean, nonce bigint, data text, updated_at_ms bigint,
    stamp uuid
)"#,
    ],
    mysql: &[],
};

const UNDO: Ddl = Ddl {
    sqlite: &[],
    postgres: &[
        "DROP TYPE IF EXISTS permit_row",
        "DROP TYPE IF EXISTS waiter_row",
        "DROP TYPE IF EXISTS lock_row",
    ],
    mysql: &[],
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Of types there is no "if not exists"; on PostgreSQL a step that was cut off left nothing.
        UNDO.run(manager).await?;
        DDL.run(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        UNDO.run(manager).await
    }
}
