//! Sorts the errors of the drivers by how to react to them.

mod codes;

use sea_orm::{DbErr, RuntimeErr, sqlx};
use sqlx::{
    error::DatabaseError,
    mysql::MySqlDatabaseError,
    postgres::{PgDatabaseError, PgSeverity},
    sqlite::SqliteError,
};

pub use self::codes::ConnectionRefusal;
use self::codes::{ErrorKind, classify_database, classify_sqlite_code, classify_sqlx, refusal_of};
use super::StoreError;

/// The purpose of a statement, which decides whether a lost answer leaves the outcome unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The statement only reads, or does no harm if it is applied and sent again. Without an answer, it is as if it had not been
    /// sent.
    Read,
    /// The statement writes. Without an answer, it may have been applied.
    Write,
}

/// Why the server does not let this program in, if that is what this error says.
pub(super) fn refused_connection(error: &(dyn std::error::Error + 'static)) -> Option<ConnectionRefusal> {
    let source = match error.downcast_ref::<DbErr>() {
        Some(DbErr::Conn(RuntimeErr::SqlxError(source))) => source,
        Some(_) => return None,
        None => error.downcast_ref::<sqlx::Error>()?,
    };
    refusal_of(source.as_database_error()?)
}

/// The beginning of the error with which our transactions undo themselves if guard rows are locked. The slots of the rows
/// follow.
pub(super) const GUARD_OPEN: &str = "guard rows are locked:";

/// Sorts an error of the driver by how to react to it.
pub(super) fn classify(error: DbErr, purpose: Purpose) -> StoreError {
    if let DbErr::Custom(text) = &error
        && let Some(slots) = text.strip_prefix(GUARD_OPEN)
    {
        return StoreError::GuardOpen(slots.split(',').filter_map(|slot| slot.parse().ok()).collect());
    }
    let (kind, purpose) = match &error {
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => {
            (classify_sqlx(source), purpose)
        }
        // No connection was made, so no statement was sent, and nothing is wrong with the statement.
        DbErr::Conn(RuntimeErr::SqlxError(source)) => match classify_sqlx(source) {
            kind @ (ErrorKind::ReadOnly
            | ErrorKind::SeveralWritable
            | ErrorKind::DiskFull
            | ErrorKind::Transient
            | ErrorKind::Blocked) => (kind, purpose),
            ErrorKind::Unreachable | ErrorKind::Broken | ErrorKind::Rejected => {
                (ErrorKind::Unreachable, purpose)
            }
        },
        DbErr::ConnectionAcquire(_) => return StoreError::Overloaded(Box::new(error)),
        DbErr::Conn(_) => (ErrorKind::Unreachable, purpose),
        _ => (ErrorKind::Rejected, purpose),
    };
    sorted(kind, purpose, Box::new(error))
}

fn sorted(kind: ErrorKind, purpose: Purpose, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    match (kind, purpose) {
        (ErrorKind::Unreachable, _) | (ErrorKind::Broken, Purpose::Read) => StoreError::Unreachable(source),
        (ErrorKind::Broken, Purpose::Write) => StoreError::Unknown(source),
        (ErrorKind::Blocked, _) => StoreError::Blocked(source),
        (ErrorKind::Transient, _) => StoreError::Transient(source),
        (ErrorKind::ReadOnly, _) => StoreError::ReadOnly(source),
        (ErrorKind::SeveralWritable, _) => StoreError::SeveralWritable(source),
        (ErrorKind::DiskFull, _) => StoreError::DiskFull(source),
        (ErrorKind::Rejected, _) => StoreError::Rejected(source),
    }
}

/// Sorts an error of the connection that writes to a SQLite file.
pub(super) fn classify_sqlite(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|error| error.extended_code.unsigned_abs());
    let kind = code.map_or(ErrorKind::Rejected, classify_sqlite_code);
    sorted(kind, Purpose::Write, Box::new(error))
}

/// What an error means for its connection, and for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The database answered, and the connection can be used again.
    Keep,
    /// The driver could not go on. That says nothing about other connections.
    Close,
    /// No answer came, or the session is over. Connections that have been silent for as long may be dead, too.
    Distrust,
    /// The server takes no writes: all connections may lead to it.
    CloseAll,
}

/// The reaction to an error that came over a connection.
pub(super) fn reaction(error: &sqlx::Error) -> Reaction {
    if let sqlx::Error::Database(error) = error {
        return match classify_database(&**error) {
            ErrorKind::ReadOnly | ErrorKind::SeveralWritable => Reaction::CloseAll,
            _ if has_lost_its_cluster(&**error) => Reaction::CloseAll,
            ErrorKind::Broken => Reaction::Distrust,
            _ if ends_session(&**error) => Reaction::Distrust,
            ErrorKind::Unreachable
            | ErrorKind::Blocked
            | ErrorKind::Transient
            | ErrorKind::DiskFull
            | ErrorKind::Rejected => Reaction::Keep,
        };
    }
    match classify_sqlx(error) {
        ErrorKind::Broken | ErrorKind::Unreachable => Reaction::Distrust,
        ErrorKind::ReadOnly => Reaction::CloseAll,
        ErrorKind::Blocked
        | ErrorKind::Transient
        | ErrorKind::SeveralWritable
        | ErrorKind::DiskFull
        | ErrorKind::Rejected => Reaction::Close,
    }
}

/// Whether the server is a node outside of its cluster's majority. When it belongs to the majority again, it may have
/// lost commits. So connections to it have to be made again, and checked.
fn has_lost_its_cluster(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|mysql| mysql.number() == 1047)
}

/// Whether the server closed the connection with this error.
fn ends_session(error: &dyn DatabaseError) -> bool {
    if let Some(postgres) = error.try_downcast_ref::<PgDatabaseError>() {
        return matches!(postgres.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    }
    // Idle for too long; offline, for all but administrators.
    error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|mysql| matches!(mysql.number(), 4031 | 3032))
}

/// Whether nothing was written and the whole transaction can be repeated at once.
pub(super) fn is_transient(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) = error
    else {
        return false;
    };
    classify_sqlx(source) == ErrorKind::Transient
}

/// Whether another process has locked a SQLite file at the moment.
pub(super) fn is_busy(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    is_busy_file(error)
}

/// [`is_busy`] for an error of the driver.
pub(super) fn is_busy_file(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.try_downcast_ref::<SqliteError>().is_some() && error.code().as_deref() == Some("5")
    })
}

/// The error of a request for a connection when too many are waiting.
pub(super) fn overloaded() -> StoreError {
    StoreError::Overloaded("too many requests wait for a connection, or one has waited for too long".into())
}

/// The error of an operation that was not answered in time.
pub(super) fn timed_out(purpose: Purpose) -> StoreError {
    let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
    match purpose {
        Purpose::Read => StoreError::Unreachable(source),
        Purpose::Write => StoreError::Unknown(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed password or a missing database: nothing was sent, and the commands are not to blame.
    #[test]
    fn an_error_while_connecting_refuses_no_command() {
        let refused = || RuntimeErr::SqlxError(sqlx::Error::Configuration("no".into()).into());
        assert!(matches!(classify(DbErr::Conn(refused()), Purpose::Write), StoreError::Unreachable(_)));
        assert!(matches!(classify(DbErr::Query(refused()), Purpose::Write), StoreError::Rejected(_)));
    }
}
