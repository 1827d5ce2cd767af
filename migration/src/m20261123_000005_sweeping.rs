//! Two tables for the sweeper: the floor of each tenant, above which the fencing tokens of new keys begin, and the lease of
//! the one replica that sweeps.

use crate::{Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261123_000005_sweeping",
    oldest: None,
    up: Sql {
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
    },
    down: Sql {
        sqlite: &[r#"DROP TABLE IF EXISTS "sweep_lease""#, r#"DROP TABLE IF EXISTS "token_floors""#],
        postgres: &[r#"DROP TABLE IF EXISTS "sweep_lease""#, r#"DROP TABLE IF EXISTS "token_floors""#],
        mysql: &["DROP TABLE IF EXISTS `sweep_lease`", "DROP TABLE IF EXISTS `token_floors`"],
    },
};
