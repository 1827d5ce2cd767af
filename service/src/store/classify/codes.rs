//! Classifies the errors of the drivers by their type and by the database's codes.

use sea_orm::sqlx::{self, error::DatabaseError, mysql::MySqlDatabaseError, sqlite::SqliteError};

use crate::store::not_sent::NotSent;

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorKind {
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
    /// Several servers take writes, and it is unknown which of them is the right one.
    SeveralWritable,
    /// The server's disk is full.
    DiskFull,
    /// Refused for a lasting reason.
    Rejected,
}

pub(super) fn classify_sqlx(error: &sqlx::Error) -> ErrorKind {
    use std::io::ErrorKind::ConnectionRefused;
    match error {
        sqlx::Error::Io(io) if io.kind() == ConnectionRefused => ErrorKind::Unreachable,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => ErrorKind::Unreachable,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => ErrorKind::Broken,
        sqlx::Error::Database(database) => classify_database(&**database),
        sqlx::Error::Configuration(error) => match error.downcast_ref::<NotSent>() {
            Some(NotSent::ReadOnly(_)) => ErrorKind::ReadOnly,
            Some(NotSent::SeveralWritable(_)) => ErrorKind::SeveralWritable,
            // The next decision is made under the later epoch.
            Some(NotSent::EarlierEpoch | NotSent::OtherServer) => ErrorKind::Transient,
            Some(NotSent::WrongSetting { .. } | NotSent::ServerChanged | NotSent::UnusableEpoch(_))
            | None => ErrorKind::Rejected,
        },
        _ => ErrorKind::Rejected,
    }
}

/// Classifies an error that the database itself reported, by the code that says most: the number on MariaDB and MySQL,
/// whose SQLSTATE is HY000 for nearly everything; SQLite's primary result code; PostgreSQL's SQLSTATE.
pub(super) fn classify_database(error: &dyn DatabaseError) -> ErrorKind {
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

fn classify_postgres(state: &str) -> ErrorKind {
    match state {
        // Lock not available.
        "55P03" => ErrorKind::Blocked,
        // Serialization failure, deadlock, statement timeout, idle in a transaction or at all for too long: rolled
        // back, or not even begun, and worth another try.
        "40001" | "40P01" | "57014" | "25P03" | "57P05" => ErrorKind::Transient,
        // A standby, or read-only after a failover.
        "25006" => ErrorKind::ReadOnly,
        "53100" => ErrorKind::DiskFull,
        // Out of memory, too many connections, another limit; the database is being dropped.
        "57P04" => ErrorKind::Unreachable,
        state if state.starts_with("53") => ErrorKind::Unreachable,
        // The server shuts down, or the connection broke: a commit may have happened before.
        "40003" => ErrorKind::Broken,
        state if ["57P", "08", "58"].iter().any(|class| state.starts_with(class)) => ErrorKind::Broken,
        _ => ErrorKind::Rejected,
    }
}

/// Classifies by the error's number, by its SQLSTATE if many numbers share it, and by its message if neither says
/// enough.
fn classify_mysql(number: u16, state: &str, message: &str) -> ErrorKind {
    match (number, state) {
        // Disk or table full. A file could not be written, or a storage engine or a commit failed, because of that.
        (1021 | 1114, _) => ErrorKind::DiskFull,
        (1026 | 1030 | 1180 | 3, _) if is_enospc(message) => ErrorKind::DiskFull,
        // Lock wait timeout.
        (1205, _) => ErrorKind::Blocked,
        // Deadlock, record changed since the last read, table of locks full. Statement timeout on MariaDB and on MySQL,
        // or an interrupted statement (a killed connection is none of these: it is gone). A commit that was rolled back
        // because a log could not be written, or a cluster's plugin refused. A connection that was closed for being
        // idle before the statement came.
        (1213 | 1020 | 1206 | 1969 | 3024 | 1317 | 1026 | 3100 | 3101 | 4031, _) => ErrorKind::Transient,
        // Read-only, as a replica or after a failover.
        (1290 | 1792 | 1836, _) => ErrorKind::ReadOnly,
        // Too many connections; out of memory; a node of a cluster that is not ready; offline.
        (1040 | 1203 | 1037 | 1041 | 1047 | 3032, _) => ErrorKind::Unreachable,
        // Shutting down, or the connection was killed or broke: a commit may have happened before. A commit that failed
        // in the storage engine: a node that is being cut off from its Galera cluster reports this, and the others may
        // have the commit.
        (1053 | 1927 | 1152 | 1158..=1161 | 1180, _) => ErrorKind::Broken,
        (_, state) if state.starts_with("08") => ErrorKind::Broken,
        _ => ErrorKind::Rejected,
    }
}

/// Whether a message of MariaDB or MySQL names the system's error for a full disk: `(Errcode: 28 "No space left on device")`,
/// `Got error 28 ...`. The words differ with the server's language.
fn is_enospc(message: &str) -> bool {
    let numbers = message.split(|character: char| !character.is_ascii_alphanumeric());
    numbers.into_iter().any(|word| word == "28") || message.contains("No space left")
}

/// Classifies by the primary code, which is the lowest byte of an extended code.
pub(super) fn classify_sqlite_code(code: u32) -> ErrorKind {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const READONLY: u32 = 8;
    const IOERR: u32 = 10;
    const FULL: u32 = 13;
    const CANTOPEN: u32 = 14;
    match code & 0xff {
        BUSY | LOCKED => ErrorKind::Transient,
        // Data that was written to the log before the disk failed may be found there after a crash.
        IOERR => ErrorKind::Broken,
        READONLY => ErrorKind::ReadOnly,
        FULL => ErrorKind::DiskFull,
        CANTOPEN => ErrorKind::Unreachable,
        _ => ErrorKind::Rejected,
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
            ("53100", ErrorKind::DiskFull),
            ("53200", ErrorKind::Unreachable),
            ("53300", ErrorKind::Unreachable),
            ("25006", ErrorKind::ReadOnly),
            ("25P03", ErrorKind::Transient),
            ("57P01", ErrorKind::Broken),
        ];
        for (state, kind) in postgres {
            assert_eq!(classify_postgres(state), kind, "{state}");
        }
        let full = r#"Error writing file '/tmp/ML' (Errcode: 28 "No space left on device")"#;
        let mysql = [
            (1290, "HY000", "", ErrorKind::ReadOnly),
            (1836, "HY000", "", ErrorKind::ReadOnly),
            (1792, "25006", "", ErrorKind::ReadOnly),
            (1021, "HY000", "", ErrorKind::DiskFull),
            (1114, "HY000", "The table 'locks' is full", ErrorKind::DiskFull),
            (1026, "HY000", full, ErrorKind::DiskFull),
            (
                1026,
                "HY000",
                r#"Error writing file 'x' (errno: 5 "Input/output error")"#,
                ErrorKind::Transient,
            ),
            (1030, "HY000", "Got error 28 from storage engine", ErrorKind::DiskFull),
            (1030, "HY000", "Got error 128 from storage engine", ErrorKind::Rejected),
            (1180, "HY000", "Got error 6 \"No such device or address\" during COMMIT", ErrorKind::Broken),
            (1040, "08004", "", ErrorKind::Unreachable),
            (1969, "70100", "", ErrorKind::Transient),
            (3024, "HY000", "", ErrorKind::Transient),
            (1205, "HY000", "", ErrorKind::Blocked),
            (1020, "HY000", "", ErrorKind::Transient),
            (1213, "40001", "", ErrorKind::Transient),
            (4031, "HY000", "", ErrorKind::Transient),
            (3032, "HY000", "The server is currently in offline mode", ErrorKind::Unreachable),
        ];
        for (number, state, message, kind) in mysql {
            assert_eq!(classify_mysql(number, state, message), kind, "{number} {message}");
        }
        assert_eq!(classify_postgres("55P03"), ErrorKind::Blocked);
        // SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_FSYNC, SQLITE_FULL, SQLITE_READONLY_DBMOVED.
        assert_eq!(classify_sqlite_code(517), ErrorKind::Transient);
        assert_eq!(classify_sqlite_code(1034), ErrorKind::Broken);
        assert_eq!(classify_sqlite_code(13), ErrorKind::DiskFull);
        assert_eq!(classify_sqlite_code(1032), ErrorKind::ReadOnly);
    }

    #[test]
    fn a_value_that_does_not_fit_is_a_refusal() {
        assert_eq!(classify_postgres("22001"), ErrorKind::Rejected);
        assert_eq!(classify_mysql(1406, "22001", ""), ErrorKind::Rejected);
        assert_eq!(classify_sqlite_code(19), ErrorKind::Rejected);
    }
}
