//! Makes room for more ended versions with each key, in another form: up to 64, of the last ten minutes. On MySQL and
//! MariaDB the column grows. Older programs do not understand the form, so they must not write any more.

use crate::{Migration, Sql};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m20261127_000008_ended_versions",
    oldest: None,
    up: Sql {
        sqlite: &[],
        postgres: &[],
        mysql: &["ALTER TABLE locks MODIFY ended VARBINARY(1024) NOT NULL"],
    },
    // Ended versions that an older program cannot read are forgotten.
    down: Sql {
        sqlite: &["UPDATE locks SET ended = x'' WHERE length(ended) % 16 <> 0"],
        postgres: &["UPDATE locks SET ended = '' WHERE octet_length(ended) % 16 <> 0"],
        mysql: &[
            "UPDATE locks SET ended = '' WHERE LENGTH(ended) % 16 <> 0 OR LENGTH(ended) > 128",
            "ALTER TABLE locks MODIFY ended VARBINARY(128) NOT NULL",
        ],
    },
};
