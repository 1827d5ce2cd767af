//! Makes room with each key for how operators ended grants by force: who, when and why, up to about 42 KB. Older programs do
//! not understand that form of the column, so they must not write any more.

use crate::{Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261127_000012_forced_releases",
    oldest: None,
    up: Sql {
        sqlite: &[],
        postgres: &[],
        mysql: &["ALTER TABLE locks MODIFY ended VARBINARY(45000) NOT NULL"],
    },
    // What an older program cannot read is forgotten: the form that begins with 2, and is no multiple of 16 bytes long.
    down: Sql {
        sqlite: &[
            "UPDATE locks SET ended = x'' WHERE length(ended) % 16 <> 0 AND hex(substr(ended, 1, 1)) = '02'",
        ],
        postgres: &[
            r"UPDATE locks SET ended = '' WHERE octet_length(ended) % 16 <> 0 AND substr(ended, 1, 1) = '\x02'::bytea",
        ],
        mysql: &[
            "UPDATE locks SET ended = '' WHERE LENGTH(ended) % 16 <> 0 AND ORD(LEFT(ended, 1)) = 2",
            "ALTER TABLE locks MODIFY ended VARBINARY(1024) NOT NULL",
        ],
    },
};
