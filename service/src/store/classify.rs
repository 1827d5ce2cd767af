//! Which errors of the drivers mean what, in one place.

use sea_orm::{DbErr, RuntimeErr, sqlx};

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
        sqlx::Error::Database(database) => classify_code(database.code().as_deref(), database.message()),
        _ => Kind::Rejected,
    }
}

/// PostgreSQL's SQLSTATE, MariaDB's and MySQL's SQLSTATE or number, SQLite's extended result code.
fn classify_code(code: Option<&str>, message: &str) -> Kind {
    match code.unwrap_or_default() {
        // PostgreSQL: serialization failure, deadlock, lock not available, cancelled by the statement timeout (rolled
        // back, and worth another try). 40001 is MySQL's deadlock too. MySQL and MariaDB: deadlock (1213), lock wait
        // timeout (1205), record changed since the last read (1020). SQLITE_BUSY and SQLITE_LOCKED with their extended
        // forms.
        "40001" | "40P01" | "55P03" | "57014" | "1213" | "1205" | "1020" | "5" | "6" | "261" | "262"
        | "517" | "773" => Kind::Transient,
        // The server goes away, or broke off: a commit may have happened before.
        code if code.starts_with("57P") || code.starts_with("08") || code.starts_with("58") => Kind::Broken,
        // PostgreSQL: too many connections; read-only after a failover. SQLITE_IOERR, SQLITE_FULL: the file system does
        // not do its part.
        "53300" | "25006" | "10" | "13" => Kind::Unreachable,
        // Lock wait timeout on MySQL and MariaDB is reported under HY000.
        "HY000" if message.contains("Lock wait timeout") => Kind::Transient,
        _ => Kind::Rejected,
    }
}
