//! On PostgreSQL, types of rows for parameters: a batch sends one array of rows for each table. The columns are those of the
//! table in its order. The `stamp` at the end of a waiter's or permit's row is that of the write that brings the row.

use crate::{Migration, SWEEPING, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261126_000006_row_types",
    // It adds types that older programs do not name.
    oldest: Some(SWEEPING),
    up: Sql {
        sqlite: &[],
        postgres: &[
            // `CREATE TYPE` has no IF NOT EXISTS. On PostgreSQL a migration that was cut off left nothing.
            "DROP TYPE IF EXISTS permit_row",
            "DROP TYPE IF EXISTS waiter_row",
            "DROP TYPE IF EXISTS lock_row",
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
    },
    down: Sql {
        sqlite: &[],
        postgres: &[
            "DROP TYPE IF EXISTS permit_row",
            "DROP TYPE IF EXISTS waiter_row",
            "DROP TYPE IF EXISTS lock_row",
        ],
        mysql: &[],
    },
};
