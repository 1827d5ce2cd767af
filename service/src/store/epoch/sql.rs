//! Statements about the epoch. They run on connections that are being set up, so their texts contain the values.

use std::fmt::Write as _;

use super::identity::Identity;
use crate::{
    domain::Epoch,
    store::{
        dialect::{Dialect, POSTGRES_STARTED},
        mysql::IS_READ_ONLY,
    },
};

/// 2026-01-01T00:00:00Z in epoch seconds.
const START_OF_2026_S: i64 = 1_767_225_600;

/// The system's identifier and the timeline. The name of a WAL file contains the timeline, and changes at once when a
/// standby is promoted.
const POSTGRES_SERVER: &str = "CASE WHEN pg_is_in_recovery() THEN '' ELSE \
                               (SELECT system_identifier FROM pg_control_system())::text || '/' \
                               || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";

/// Whether the server takes no writes.
const POSTGRES_READ_ONLY: &str =
    "(pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on')::int::text";

/// The columns of the epoch's row that are read.
const STORED: [&str; 4] = ["epoch", "identity", "started_at_ms", "generation"];

/// The number of columns in an answer: whether it is read-only, server, start, generation, seconds since 2026, and the
/// row.
pub(super) const COLUMNS: usize = 5 + STORED.len();

/// How far apart the start times of one server may lie, in milliseconds: uptimes have whole seconds.
pub(super) const fn tolerance_ms(dialect: Dialect) -> i64 {
    match dialect {
        Dialect::Sqlite | Dialect::Postgres => 0,
        Dialect::MariaDb | Dialect::MySql => 3_000,
    }
}

/// Reads whether the server is read-only, its identity, the time, and the row of the epoch, all as texts. `in_full`
/// uses functions that may be missing or reserved for administrators. Without them only the server's start identifies
/// it.
pub(super) fn read_epoch(dialect: Dialect, in_full: bool) -> String {
    let cast = if dialect == Dialect::Postgres { "text" } else { "CHAR" };
    let stored = STORED.map(|column| format!("CAST(e.{column} AS {cast})")).join(", ");
    let from = "LEFT JOIN db_locks_epoch e ON e.id = 1";
    match dialect {
        Dialect::Sqlite => String::new(),
        Dialect::Postgres => {
            let server = if in_full { POSTGRES_SERVER } else { "''" };
            let seconds =
                format!("(floor(extract(epoch FROM clock_timestamp()))::bigint - {START_OF_2026_S})::text");
            format!(
                "/* epoch */ SELECT {POSTGRES_READ_ONLY}, {server}, {POSTGRES_STARTED}::text, NULL::text, {seconds}, {stored} \
                 FROM (SELECT 1) AS one {from}"
            )
        }
        Dialect::MySql => {
            let started = started("s.uptime");
            format!(
                "/* epoch */ SELECT CAST({IS_READ_ONLY} AS CHAR), CAST(@@server_uuid AS CHAR), CAST({started} AS CHAR), NULL, {}, {stored} \
                 FROM (SELECT CAST(MAX(variable_value) AS SIGNED) AS uptime FROM performance_schema.global_status \
                 WHERE variable_name = 'Uptime') AS s {from}",
                seconds()
            )
        }
        Dialect::MariaDb => {
            let uid = if in_full { "@@server_uid" } else { "''" };
            let status = |name: &str| format!("MAX(IF(variable_name = '{name}', variable_value, NULL))");
            format!(
                "/* epoch */ SELECT CAST({IS_READ_ONLY} AS CHAR), CAST(IF(@@wsrep_on, CONCAT('galera/', s.state), \
                 CONCAT_WS('/', {uid}, @@hostname, @@port, @@datadir)) AS CHAR), \
                 CAST({} AS CHAR), CAST(IF(@@wsrep_on, s.conf, NULL) AS CHAR), {}, {stored} \
                 FROM (SELECT CAST({} AS SIGNED) AS uptime, {} AS state, {} AS conf FROM information_schema.global_status \
                 WHERE variable_name IN ('UPTIME', 'WSREP_CLUSTER_STATE_UUID', 'WSREP_CLUSTER_CONF_ID')) AS s {from}",
                started("s.uptime"),
                seconds(),
                status("UPTIME"),
                status("WSREP_CLUSTER_STATE_UUID"),
                status("WSREP_CLUSTER_CONF_ID"),
            )
        }
    }
}

fn started(uptime: &str) -> String {
    format!("(UNIX_TIMESTAMP() - {uptime}) * 1000")
}

fn seconds() -> String {
    format!("CAST(UNIX_TIMESTAMP() - {START_OF_2026_S} AS CHAR)")
}

/// Seconds since 2026 by the database's clock, for a raise by hand.
pub(super) fn seconds_since_2026(dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => format!("unixepoch('now') - {START_OF_2026_S}"),
        Dialect::Postgres => {
            format!("floor(extract(epoch FROM clock_timestamp()))::bigint - {START_OF_2026_S}")
        }
        Dialect::MariaDb | Dialect::MySql => format!("CAST(UNIX_TIMESTAMP() - {START_OF_2026_S} AS SIGNED)"),
    }
}

/// Stores an epoch with the identity of the server, unless another replica has changed the row since it was read.
pub(super) fn store(
    dialect: Dialect,
    before: Epoch,
    epoch: Epoch,
    identity: &Identity,
    is_first: bool,
) -> String {
    let first = if is_first { " AND identity IS NULL" } else { "" };
    // Nothing is stored if this runs on another server than the one that was looked at.
    let here = match (dialect, identity.started_at_ms) {
        (Dialect::Postgres, Some(started)) => format!(" AND {POSTGRES_STARTED} = {started}"),
        _ => String::new(),
    };
    let raise = raise(dialect, epoch, Some(identity));
    dialect.sql(&format!("{raise} AND epoch = {}{first}{here}", before.number()))
}

/// Stores an epoch, and the server that it is valid for, as a template; without one it is valid for whichever is met first.
pub(super) fn raise(dialect: Dialect, epoch: Epoch, identity: Option<&Identity>) -> String {
    let number = |value: Option<i64>| value.map_or_else(|| "NULL".to_owned(), |value| value.to_string());
    let generation = identity.and_then(|identity| identity.generation);
    // Any node of a cluster may answer next. All of them were started before now.
    let started = if generation.is_some() {
        "{now}".to_owned()
    } else {
        number(identity.and_then(|identity| identity.started_at_ms))
    };
    format!(
        "/* raise_epoch */ UPDATE db_locks_epoch SET epoch = {}, identity = {}, started_at_ms = {started}, generation = {}, \
         raised_at_ms = {{now}} WHERE id = 1",
        epoch.number(),
        identity.map_or_else(|| "NULL".to_owned(), |identity| literal(dialect, &identity.server)),
        number(generation),
    )
}

/// A literal that no character of the text can end, whatever the session's modes are.
fn literal(dialect: Dialect, text: &str) -> String {
    let hex = text.bytes().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    match dialect {
        Dialect::Sqlite => format!("CAST(x'{hex}' AS TEXT)"),
        Dialect::Postgres => format!("convert_from(decode('{hex}', 'hex'), 'UTF8')"),
        Dialect::MariaDb | Dialect::MySql => format!("_utf8mb4 x'{hex}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_about_the_epoch_are_reviewed() {
        let [before, after] = [7, 8].map(|number| Epoch::new(number).unwrap_or_default());
        for (name, dialect) in
            [("postgresql", Dialect::Postgres), ("mariadb", Dialect::MariaDb), ("mysql", Dialect::MySql)]
        {
            let identity = |generation| Identity {
                server: "a'b".to_owned(),
                started_at_ms: Some(1_700_000_000_000),
                generation,
            };
            let mut statements = vec![
                read_epoch(dialect, true),
                read_epoch(dialect, false),
                store(dialect, before, after, &identity(None), true),
                store(dialect, before, after, &identity(None), false),
            ];
            if dialect == Dialect::MariaDb {
                statements.push(store(dialect, before, after, &identity(Some(3)), false));
            }
            insta::assert_snapshot!(name, statements.join(";\n\n") + ";\n");
        }
    }
}
