//! The table of the replicas that have waiters, each with a counter that it increments every second.

use crate::{Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261123_000004_replicas",
    oldest: None,
    up: Sql {
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
    },
    down: Sql {
        sqlite: &[r#"DROP TABLE IF EXISTS "replicas""#],
        postgres: &[r#"DROP TABLE IF EXISTS "replicas""#],
        mysql: &["DROP TABLE IF EXISTS `replicas`"],
    },
};
