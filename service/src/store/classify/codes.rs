//! Classifies the errors of the drivers by their type and by the database's codes.

use sea_orm::sqlx::{self, error::DatabaseError, mysql::MySqlDatabaseError, sqlite::SqliteError};

use crate::store::{
    fence::{EarlierEpoch, OtherServer},
    session::{ReadOnlyServer, SeveralWritable},
};

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The statement was never sent.
    Unreachable,
    /// The connection broke at some point.
    Broken,
    /// A row was locked for too long.
    Blocked,
    /// Worth another try at once.
    Transient,
    /// The server takes no writes.
    ReadOnly,
    /// Several servers take writes, and nothing tells which of them is the right one.
    SeveralWritable,
    /// The server's disk is full.
    DiskFull,
    /// Refused for a lasting reason.
    Rejected,
}

pub(super) fn classify_sqlx(error: &sqlx::Error) -> Kind {
    use std::io::ErrorKind::ConnectionRefused;
    match error {
        sqlx::Error::Io(io) if io.kind() == ConnectionRefused => Kind::Unreachable,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Kind::Unreachable,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Kind::Broken,
        sqlx::Error::Database(database) => classify_database(&**database),
        // Errors that were found while a session was set up.
        sqlx::Error::Configuration(found) if found.is::<ReadOnlyServer>() => Kind::ReadOnly,
        sqlx::Error::Configuration(found) if found.is::<SeveralWritable>() => Kind::SeveralWritable,
        // The next decision is made under the later epoch.
        sqlx::Error::Configuration(found) if found.is::<EarlierEpoch>() || found.is::<OtherServer>() => {
            Kind::Transient
        }
        _ => Kind::Rejected,
    }
}

/// Classifies an error that the database itself reported, by the code that says most: the number on MariaDB and MySQL,
/// whose SQLSTATE is HY000 for nearly everything; SQLite's primary result code; PostgreSQL's SQLSTATE.
pub(super) fn classify_database(error: &dyn DatabaseError) -> Kind {
    let code = error.code();
    let code = code.as_deref().unwrap_or_default();
    if let Some(mysql) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return classify_mysql(mysql.number(), code, mysql.message());
    }
    if error.try_downcast_ref::<SqliteError>().is_some() {
        return classify_sqlite_code(code.parse().unwrap_or_default());
    }
    classify_postgres(code)
}

/// Why a server lets nobody in who connects in this way. Asking again changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// Its user, password or address is not accepted, or may not use the database.
    Login,
    /// There is no such database.
    NoDatabase,
}

pub(super) fn refusal_of(error: &dyn DatabaseError) -> Option<ConnectionRefusal> {
    if let Some(mysql) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return match mysql.number() {
            // Access denied, to the server or the database; the plugin refused; the host is not allowed.
            1044 | 1045 | 1698 | 1130 => Some(ConnectionRefusal::Login),
            1049 => Some(ConnectionRefusal::NoDatabase),
            _ => None,
        };
    }
    match error.code().as_deref() {
        Some("28000" | "28P01" | "42501") => Some(ConnectionRefusal::Login),
        Some("3D000") => Some(ConnectionRefusal::NoDatabase),
        _ => None,
    }
}

fn classify_postgres(state: &str) -> Kind {
    match state {
        // Lock not available.
        "55P03" => Kind::Blocked,
        // Serialization failure, deadlock, statement timeout, idle in a transaction or at all for too long: rolled
        // back, or not even begun, and worth another try.
        "40001" | "40P01" | "57014" | "25P03" | "57P05" => Kind::Transient,
        // A standby, or read-only after a failover.
        "25006" => Kind::ReadOnly,
        "53100" => Kind::DiskFull,
        // Out of memory, too many connections, another limit; the database is being dropped.
        "57P04" => Kind::Unreachable,
        state if state.starts_with("53") => Kind::Unreachable,
        // The server shuts down, or the connection broke: a commit may have happened before.
        "40003" => Kind::Broken,
        state if ["57P", "08", "58"].iter().any(|class| state.starts_with(class)) => Kind::Broken,
        _ => Kind::Rejected,
    }
}

/// Classifies by the error's number, by its SQLSTATE if many numbers share it, and by its message if neither says
/// enough.
fn classify_mysql(number: u16, state: &str, message: &str) -> Kind {
    match (number, state) {
        // Disk or table full. A file could not be written, or a storage engine or a commit failed, because of that.
        (1021 | 1114, _) => Kind::DiskFull,
        (1026 | 1030 | 1180 | 3, _) if is_enospc(message) => Kind::DiskFull,
        // Lock wait timeout.
        (1205, _) => Kind::Blocked,
        // Deadlock, record changed since the last read, table of locks full. Statement timeout on MariaDB and on MySQL,
        // or an interrupted statement (a killed connection is none of these: it is gone). A commit that was rolled back
        // because a log could not be written, or a cluster's plugin refused. A connection that was closed for being
        // idle before the statement came.
        (1213 | 1020 | 1206 | 1969 | 3024 | 1317 | 1026 | 3100 | 3101 | 4031, _) => Kind::Transient,
        // Read-only, as a replica or after a failover.
        (1290 | 1792 | 1836, _) => Kind::ReadOnly,
        // Too many connections; out of memory; a node of a cluster that is not ready; offline.
        (1040 | 1203 | 1037 | 1041 | 1047 | 3032, _) => Kind::Unreachable,
        // Shutting down, or the connection was killed or broke: a commit may have happened before. A commit that failed
        // in the storage engine: a node that is being cut off from its Galera cluster reports this, and the others may
        // have the commit.
        (1053 | 1927 | 1152 | 1158..=1161 | 1180, _) => Kind::Broken,
        (_, state) if state.starts_with("08") => Kind::Broken,
        _ => Kind::Rejected,
    }
}

/// Whether a message of MariaDB or MySQL names the system's error for a full disk: `(Errcode: 28 "No space left on device")`,
/// `Got error 28 ...`. The words differ with the server's language.
fn is_enospc(message: &str) -> bool {
    let numbers = message.split(|character: char| !character.is_ascii_alphanumeric());
    numbers.into_iter().any(|word| word == "28") || message.contains("No space left")
}

/// Classifies by the primary code, which is the lowest byte of an extended code.
pub(super) fn classify_sqlite_code(code: u32) -> Kind {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const READONLY: u32 = 8;
    const IOERR: u32 = 10;
    const FULL: u32 = 13;
    const CANTOPEN: u32 = 14;
    match code & 0xff {
        BUSY | LOCKED => Kind::Transient,
        // Data that was written to the log before the disk failed may be found there after a crash.
        IOERR => Kind::Broken,
        READONLY => Kind::ReadOnly,
        FULL => Kind::DiskFull,
        CANTOPEN => Kind::Unreachable,
        _ => Kind::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk, a read-only server and a slow statement pass by themselves. They say nothing about the commands of
    /// a batch.
    #[test]
    fn errors_that_pass_by_themselves_are_not_refusals() {
        let postgres = [
            ("53100", Kind::DiskFull),
            ("53200", Kind::Unreachable),
            ("53300", Kind::Unreachable),
            ("25006", Kind::ReadOnly),
            ("25P03", Kind::Transient),
            ("57P01", Kind::Broken),
        ];
        for (state, kind) in postgres {
            assert_eq!(classify_postgres(state), kind, "{state}");
        }
        let full = r#"Error writing file '/tmp/ML' (Errcode: 28 "No space left on device")"#;
        let mysql = [
            (1290, "HY000", "", Kind::ReadOnly),
            (1836, "HY000", "", Kind::ReadOnly),
            (1792, "25006", "", Kind::ReadOnly),
            (1021, "HY000", "", Kind::DiskFull),
            (1114, "HY000", "The table 'locks' is full", Kind::DiskFull),
            (1026, "HY000", full, Kind::DiskFull),
            (1026, "HY000", r#"Error writing file 'x' (errno: 5 "Input/output error")"#, Kind::Transient),
            (1030, "HY000", "Got error 28 from storage engine", Kind::DiskFull),
            (1030, "HY000", "Got error 128 from storage engine", Kind::Rejected),
            (1180, "HY000", "Got error 6 \"No such device or address\" during COMMIT", Kind::Broken),
            (1040, "08004", "", Kind::Unreachable),
            (1969, "70100", "", Kind::Transient),
            (3024, "HY000", "", Kind::Transient),
            (1205, "HY000", "", Kind::Blocked),
            (1020, "HY000", "", Kind::Transient),
            (1213, "40001", "", Kind::Transient),
            (4031, "HY000", "", Kind::Transient),
            (3032, "HY000", "The server is currently in offline mode", Kind::Unreachable),
        ];
        for (number, state, message, kind) in mysql {
            assert_eq!(classify_mysql(number, state, message), kind, "{number} {message}");
        }
        assert_eq!(classify_postgres("55P03"), Kind::Blocked);
        // SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_FSYNC, SQLITE_FULL, SQLITE_READONLY_DBMOVED.
        assert_eq!(classify_sqlite_code(517), Kind::Transient);
        assert_eq!(classify_sqlite_code(1034), Kind::Broken);
        assert_eq!(classify_sqlite_code(13), Kind::DiskFull);
        assert_eq!(classify_sqlite_code(1032), Kind::ReadOnly);
    }

    #[test]
    fn a_value_that_does_not_fit_is_a_refusal() {
        assert_eq!(classify_postgres("22001"), Kind::Rejected);
        assert_eq!(classify_mysql(1406, "22001", ""), Kind::Rejected);
        assert_eq!(classify_sqlite_code(19), Kind::Rejected);
    }
}
