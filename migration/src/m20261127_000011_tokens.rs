//! A table for bearer tokens, and room for a credential behind each owner: on MySQL and MariaDB the columns grow.

use crate::{Migration, Sql, m20261127_000008_ended_versions::MIGRATION as ENDED_VERSIONS};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261127_000011_tokens",
    // To programs that know nothing of credentials, an owner with one is just another owner.
    oldest: Some(ENDED_VERSIONS.name),
    up: Sql {
        sqlite: &[r#"CREATE TABLE IF NOT EXISTS db_locks_tokens (
    id BLOB NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    tenant TEXT,
    role TEXT NOT NULL,
    key_patterns TEXT,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    last_used_at_ms INTEGER,
    PRIMARY KEY (id)
)"#],
        postgres: &[r#"CREATE TABLE IF NOT EXISTS db_locks_tokens (
    id uuid NOT NULL,
    hash bytea NOT NULL UNIQUE,
    name text COLLATE "C" NOT NULL,
    tenant text COLLATE "C",
    role text COLLATE "C" NOT NULL,
    key_patterns text COLLATE "C",
    created_at_ms bigint NOT NULL,
    expires_at_ms bigint,
    last_used_at_ms bigint,
    PRIMARY KEY (id)
)"#],
        mysql: &[
            r#"CREATE TABLE IF NOT EXISTS db_locks_tokens (
    id BINARY(16) NOT NULL,
    hash BINARY(32) NOT NULL UNIQUE,
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE {binary},
    role VARCHAR(16) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
    key_patterns MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE {binary},
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT,
    last_used_at_ms BIGINT,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#,
            "ALTER TABLE locks MODIFY owner VARCHAR(300) CHARACTER SET utf8mb4 COLLATE {binary}",
            "ALTER TABLE permits MODIFY owner VARCHAR(300) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL",
            "ALTER TABLE waiters MODIFY owner VARCHAR(300) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL",
        ],
    },
    // The columns of owners stay wide: what is in them would not fit any more.
    down: Sql {
        sqlite: &["DROP TABLE IF EXISTS db_locks_tokens"],
        postgres: &["DROP TABLE IF EXISTS db_locks_tokens"],
        mysql: &["DROP TABLE IF EXISTS db_locks_tokens"],
    },
};
