//! A table of one row: the epoch that stands in front of all fencing tokens, and the identity of the server that it was valid for.
//! Older programs would grant tokens below it, so they must not write any more.

use crate::{Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261128_000013_epoch",
    oldest: None,
    up: Sql {
        sqlite: &[
            r#"CREATE TABLE IF NOT EXISTS db_locks_epoch (
    id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    identity TEXT,
    started_at_ms INTEGER,
    generation INTEGER,
    raised_at_ms INTEGER NOT NULL,
    PRIMARY KEY (id)
)"#,
            "INSERT OR IGNORE INTO db_locks_epoch (id, epoch, raised_at_ms) VALUES (1, 0, 0)",
        ],
        postgres: &[
            r#"CREATE TABLE IF NOT EXISTS db_locks_epoch (
    id integer NOT NULL,
    epoch bigint NOT NULL,
    identity text COLLATE "C",
    started_at_ms bigint,
    generation bigint,
    raised_at_ms bigint NOT NULL,
    PRIMARY KEY (id)
)"#,
            "INSERT INTO db_locks_epoch (id, epoch, raised_at_ms) VALUES (1, 0, 0) ON CONFLICT DO NOTHING",
        ],
        mysql: &[
            r#"CREATE TABLE IF NOT EXISTS db_locks_epoch (
    id INT NOT NULL,
    epoch BIGINT NOT NULL,
    identity VARCHAR(1000) CHARACTER SET utf8mb4 COLLATE {binary},
    started_at_ms BIGINT,
    generation BIGINT,
    raised_at_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"#,
            "INSERT IGNORE INTO db_locks_epoch (id, epoch, raised_at_ms) VALUES (1, 0, 0)",
        ],
    },
    // Keys keep their tokens, so the tokens of older programs go on growing.
    down: Sql {
        sqlite: &["DROP TABLE IF EXISTS db_locks_epoch"],
        postgres: &["DROP TABLE IF EXISTS db_locks_epoch"],
        mysql: &["DROP TABLE IF EXISTS db_locks_epoch"],
    },
};
