//! Which errors of the drivers mean what, in one place.

use sea_orm::{DbErr, RuntimeErr, sqlx};
use sqlx::{error::DatabaseError, mysql::MySqlDatabaseError, sqlite::SqliteError};

use super::StoreError;

/// What the statement was for: tells whether its fate matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It only read: if no answer came, nothing has happened.
    Read,
    /// It wrote: if no answer came, it may have happened.
    Write,
}

/// Sorts an error of the driver by what is to be done about it.
pub(super) fn classify(error: DbErr, purpose: Purpose) -> StoreError {
    let (kind, purpose) = match &error {
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => {
            (classify_sqlx(source), purpose)
        }
        // No connection was made, so nothing was sent on it.
        DbErr::Conn(RuntimeErr::SqlxError(source)) => (classify_sqlx(source), Purpose::Read),
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => (Kind::Unreachable, purpose),
        _ => (Kind::Rejected, purpose),
    };
    sorted(kind, purpose, Box::new(error))
}

fn sorted(kind: Kind, purpose: Purpose, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    match (kind, purpose) {
        (Kind::Unreachable, _) | (Kind::Broken, Purpose::Read) => StoreError::Unreachable(source),
        (Kind::Broken, Purpose::Write) => StoreError::Unknown(source),
        (Kind::Transient, _) => StoreError::Transient(source),
        (Kind::Rejected, _) => StoreError::Rejected(source),
    }
}

/// Sorts an error of the connection that writes to a SQLite file.
pub(super) fn classify_sqlite(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, ReadOnly, SystemIoFailure,
    };
    let kind = match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => Kind::Transient,
        // What was written to the log before the disk failed may be found there after a crash.
        Some(SystemIoFailure) => Kind::Broken,
        Some(DiskFull | CannotOpen | ReadOnly) => Kind::Unreachable,
        Some(_) | None => Kind::Rejected,
    };
    sorted(kind, Purpose::Write, Box::new(error))
}

/// The time was up before an answer came.
pub(super) fn timed_out(purpose: Purpose) -> StoreError {
    let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
    match purpose {
        Purpose::Read => StoreError::Unreachable(source),
        Purpose::Write => StoreError::Unknown(source),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It was never sent.
    Unreachable,
    /// The connection broke at some point.
    Broken,
    /// Worth trying again at once.
    Transient,
    /// Refused for good.
    Rejected,
}

fn classify_sqlx(error: &sqlx::Error) -> Kind {
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
        _ => Kind::Rejected,
    }
}

/// What the database itself answered, by the code that says most: the number of MariaDB and MySQL, whose SQLSTATE is
/// HY000 for nearly everything; SQLite's primary result code; PostgreSQL's SQLSTATE.
fn classify_database(error: &dyn DatabaseError) -> Kind {
    let code = error.code();
    let code = code.as_deref().unwrap_or_default();
    if let Some(mysql) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return classify_mysql(mysql.number(), code);
    }
    if error.try_downcast_ref::<SqliteError>().is_some() {
        return classify_sqlite_code(code.parse().unwrap_or_default());
    }
    classify_postgres(code)
}

fn classify_postgres(state: &str) -> Kind {
    match state {
        // Serialization failure, deadlock, lock not available, cancelled by the statement timeout: rolled back, and worth
        // another try.
        "40001" | "40P01" | "55P03" | "57014" => Kind::Transient,
        // Disk full, out of memory, too many connections; read-only after a failover.
        "53100" | "53200" | "53300" | "25006" => Kind::Unreachable,
        // The server goes away, or broke off: a commit may have happened before.
        state if ["57P", "08", "58"].iter().any(|class| state.starts_with(class)) => Kind::Broken,
        _ => Kind::Rejected,
    }
}

/// The error's number, and its SQLSTATE where a number would be one of many.
fn classify_mysql(number: u16, state: &str) -> Kind {
    match (number, state) {
        // Deadlock, lock wait timeout, record changed since the last read. The statement's time was up, on MariaDB and on
        // MySQL, or it was interrupted (a connection that was killed is none of these: it is gone).
        (1213 | 1205 | 1020 | 1969 | 3024 | 1317, _) => Kind::Transient,
        // Read-only, as a replica or after a failover (1290, 1792, 1836); disk or table full; too many connections; a
        // node of a cluster that is not ready.
        (1290 | 1792 | 1836 | 1021 | 1114 | 1040 | 1203 | 1047, _) => Kind::Unreachable,
        // Shutting down, or the connection was killed: a commit may have happened before.
        (1053 | 1927, _) => Kind::Broken,
        (_, state) if state.starts_with("08") => Kind::Broken,
        _ => Kind::Rejected,
    }
}

/// By the primary code, which is the lowest byte of an extended one.
fn classify_sqlite_code(code: u32) -> Kind {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const READONLY: u32 = 8;
    const IOERR: u32 = 10;
    const FULL: u32 = 13;
    const CANTOPEN: u32 = 14;
    match code & 0xff {
        BUSY | LOCKED => Kind::Transient,
        // What was written to the log before the disk failed may be found there after a crash.
        IOERR => Kind::Broken,
        READONLY | FULL | CANTOPEN => Kind::Unreachable,
        _ => Kind::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full, a server that only reads, a statement that took too long: all pass, and none of them says
    /// anything about the commands of the batch.
    #[test]
    fn what_passes_by_itself_is_not_a_refusal() {
        for state in ["53100", "53200", "53300", "25006"] {
            assert_eq!(classify_postgres(state), Kind::Unreachable, "{state}");
        }
        for number in [1290, 1836, 1021, 1114, 1040] {
            assert_eq!(classify_mysql(number, "HY000"), Kind::Unreachable, "{number}");
        }
        for (number, state) in
            [(1969, "70100"), (3024, "HY000"), (1205, "HY000"), (1020, "HY000"), (1213, "40001")]
        {
            assert_eq!(classify_mysql(number, state), Kind::Transient, "{number}");
        }
        // SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_FSYNC, SQLITE_FULL.
        assert_eq!(classify_sqlite_code(517), Kind::Transient);
        assert_eq!(classify_sqlite_code(1034), Kind::Broken);
        assert_eq!(classify_sqlite_code(13), Kind::Unreachable);
    }

    #[test]
    fn a_value_that_does_not_fit_is_a_refusal() {
        assert_eq!(classify_postgres("22001"), Kind::Rejected);
        assert_eq!(classify_mysql(1406, "22001"), Kind::Rejected);
        assert_eq!(classify_sqlite_code(19), Kind::Rejected);
    }
}
