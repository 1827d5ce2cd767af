//! The dialects, and the expressions that differ between them.

use sea_orm::{DatabaseBackend, Statement, Value};

/// Start time of a PostgreSQL server in epoch milliseconds. It distinguishes servers with the same history.
pub(super) const POSTGRES_STARTED: &str =
    "floor(extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint";

/// The SQL dialect of a database. MariaDB and MySQL share a protocol and a driver, and not much more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    MariaDb,
    MySql,
}

impl Dialect {
    /// SeaORM's name for this kind of database.
    pub(super) const fn backend(self) -> DatabaseBackend {
        match self {
            Self::Sqlite => DatabaseBackend::Sqlite,
            Self::Postgres => DatabaseBackend::Postgres,
            Self::MariaDb | Self::MySql => DatabaseBackend::MySql,
        }
    }

    /// The database's clock as epoch milliseconds, rounded down: the moment of evaluation, not the start of a
    /// transaction.
    pub(super) const fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)",
            Self::Postgres => "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
            Self::MariaDb | Self::MySql => "CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED)",
        }
    }

    /// The database's clock as a value for a column of time: microseconds on servers, epoch milliseconds on SQLite.
    pub(super) const fn precise_now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)",
            Self::Postgres => "clock_timestamp()",
            Self::MariaDb | Self::MySql => "SYSDATE(6)",
        }
    }

    /// A text that differs from one server to another, whose clock may differ, too. Empty on databases other than
    /// PostgreSQL.
    pub(super) const fn identity(self) -> &'static str {
        match self {
            Self::Postgres => "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text",
            Self::Sqlite | Self::MariaDb | Self::MySql => "''",
        }
    }

    /// The collation that compares UTF-8 byte for byte.
    pub(super) const fn binary_collation(self) -> &'static str {
        match self {
            Self::Sqlite => "BINARY",
            Self::Postgres => "\"C\"",
            Self::MariaDb => "utf8mb4_nopad_bin",
            Self::MySql => "utf8mb4_0900_bin",
        }
    }

    /// A statement in this dialect, from one written with `?`, `{now}`, `{key}`, `{floor}` and `{binary}`.
    pub(super) fn sql(self, template: &str) -> String {
        let quote = |name: &str| match self {
            Self::Sqlite | Self::Postgres => format!("\"{name}\""),
            Self::MariaDb | Self::MySql => format!("`{name}`"),
        };
        let text = template
            .replace("{now}", self.now())
            .replace("{key}", &quote("key"))
            .replace("{floor}", &quote("floor"))
            .replace("{binary}", self.binary_collation());
        if self != Self::Postgres {
            return text;
        }
        let mut numbered = String::with_capacity(text.len() + 32);
        let mut number = 0;
        for part in text.split_inclusive('?') {
            if let Some(before) = part.strip_suffix('?') {
                number += 1;
                numbered.push_str(before);
                numbered.push('$');
                numbered.push_str(&number.to_string());
            } else {
                numbered.push_str(part);
            }
        }
        numbered
    }

    /// A statement with its values.
    pub(super) fn statement(self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }
}
