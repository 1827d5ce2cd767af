//! Which errors of the drivers mean what, in one place.

use sea_orm::{DbErr, RuntimeErr, sqlx};
use sqlx::{
    error::DatabaseError,
    mysql::MySqlDatabaseError,
    postgres::{PgDatabaseError, PgSeverity},
    sqlite::SqliteError,
};

use super::{
    StoreError,
    fence::{EarlierEpoch, OtherServer},
    session::{ReadOnlyServer, SeveralWritable},
};

/// What the statement was for: tells whether its fate matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It only read: if no answer came, nothing has happened.
    Read,
    /// It wrote: if no answer came, it may have happened.
    Write,
}

/// How the error begins with which a transaction of ours undoes itself because guard rows are locked; their slots follow.
pub(super) const GUARD_OPEN: &str = "guard rows are locked:";

/// Sorts an error of the driver by what is to be done about it.
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
        // No connection was made, so nothing was sent on it, and nothing is wrong with the statement.
        DbErr::Conn(RuntimeErr::SqlxError(source)) => match classify_sqlx(source) {
            kind @ (Kind::ReadOnly
            | Kind::SeveralWritable
            | Kind::DiskFull
            | Kind::Transient
            | Kind::Blocked) => (kind, purpose),
            Kind::Unreachable | Kind::Broken | Kind::Rejected => (Kind::Unreachable, purpose),
        },
        DbErr::ConnectionAcquire(_) => return StoreError::Overloaded(Box::new(error)),
        DbErr::Conn(_) => (Kind::Unreachable, purpose),
        _ => (Kind::Rejected, purpose),
    };
    sorted(kind, purpose, Box::new(error))
}

fn sorted(kind: Kind, purpose: Purpose, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    match (kind, purpose) {
        (Kind::Unreachable, _) | (Kind::Broken, Purpose::Read) => StoreError::Unreachable(source),
        (Kind::Broken, Purpose::Write) => StoreError::Unknown(source),
        (Kind::Blocked, _) => StoreError::Blocked(source),
        (Kind::Transient, _) => StoreError::Transient(source),
        (Kind::ReadOnly, _) => StoreError::ReadOnly(source),
        (Kind::SeveralWritable, _) => StoreError::SeveralWritable(source),
        (Kind::DiskFull, _) => StoreError::DiskFull(source),
        (Kind::Rejected, _) => StoreError::Rejected(source),
    }
}

/// Sorts an error of the connection that writes to a SQLite file.
pub(super) fn classify_sqlite(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|error| error.extended_code.unsigned_abs());
    let kind = code.map_or(Kind::Rejected, classify_sqlite_code);
    sorted(kind, Purpose::Write, Box::new(error))
}

/// What an error says about the connection it came over, and about the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The database answered, and the connection can be used again.
    Keep,
    /// The driver could not go on. That says nothing about other connections.
    Close,
    /// No answer came, or the session is over. Others that have been silent for as long may be as dead.
    Distrust,
    /// The server takes no writes: all connections may lead to it.
    CloseAll,
}

/// What is to be done about a connection over which this error came.
pub(super) fn reaction(error: &sqlx::Error) -> Reaction {
    if let sqlx::Error::Database(error) = error {
        return match classify_database(&**error) {
            Kind::ReadOnly | Kind::SeveralWritable => Reaction::CloseAll,
            _ if has_lost_its_cluster(&**error) => Reaction::CloseAll,
            Kind::Broken => Reaction::Distrust,
            _ if ends_session(&**error) => Reaction::Distrust,
            Kind::Unreachable | Kind::Blocked | Kind::Transient | Kind::DiskFull | Kind::Rejected => {
                Reaction::Keep
            }
        };
    }
    match classify_sqlx(error) {
        Kind::Broken | Kind::Unreachable => Reaction::Distrust,
        Kind::ReadOnly => Reaction::CloseAll,
        Kind::Blocked | Kind::Transient | Kind::SeveralWritable | Kind::DiskFull | Kind::Rejected => {
            Reaction::Close
        }
    }
}

/// Whether the server is a node that is not part of its cluster's majority. When it is again it may have lost commits, so whatever
/// connection leads there is to be made anew, and checked.
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
    classify_sqlx(source) == Kind::Transient
}

/// Whether another process has a SQLite file to itself just now.
pub(super) fn is_busy(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    error.as_database_error().is_some_and(|error| {
        error.try_downcast_ref::<SqliteError>().is_some() && error.code().as_deref() == Some("5")
    })
}

/// Too many ask for the same connections.
pub(super) fn overloaded() -> StoreError {
    StoreError::Overloaded("as many wait for a connection as may, or for as long as they may".into())
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
    /// A row was locked for too long.
    Blocked,
    /// Worth trying again at once.
    Transient,
    /// The server takes no writes.
    ReadOnly,
    /// Several servers take writes, and nothing tells which of them is the right one.
    SeveralWritable,
    /// Its disk is full.
    DiskFull,
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
        // What setting up a session found.
        sqlx::Error::Configuration(found) if found.is::<ReadOnlyServer>() => Kind::ReadOnly,
        sqlx::Error::Configuration(found) if found.is::<SeveralWritable>() => Kind::SeveralWritable,
        // What is decided anew is decided under the later epoch.
        sqlx::Error::Configuration(found) if found.is::<EarlierEpoch>() || found.is::<OtherServer>() => {
            Kind::Transient
        }
        _ => Kind::Rejected,
    }
}

/// What the database itself answered, by the code that says most: the number of MariaDB and MySQL, whose SQLSTATE is
/// HY000 for nearly everything; SQLite's primary result code; PostgreSQL's SQLSTATE.
fn classify_database(error: &dyn DatabaseError) -> Kind {
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

fn classify_postgres(state: &str) -> Kind {
    match state {
        // Lock not available.
        "55P03" => Kind::Blocked,
        // Serialization failure, deadlock, cancelled by the statement timeout, idle in a transaction or
        // at all for too long: rolled back, or not even begun, and worth another try.
        "40001" | "40P01" | "57014" | "25P03" | "57P05" => Kind::Transient,
        // A standby, or read-only after a failover.
        "25006" => Kind::ReadOnly,
        "53100" => Kind::DiskFull,
        // Out of memory, too many connections, another limit; the database is being dropped.
        "57P04" => Kind::Unreachable,
        state if state.starts_with("53") => Kind::Unreachable,
        // The server goes away, or broke off: a commit may have happened before.
        "40003" => Kind::Broken,
        state if ["57P", "08", "58"].iter().any(|class| state.starts_with(class)) => Kind::Broken,
        _ => Kind::Rejected,
    }
}

/// The error's number, its SQLSTATE where a number would be one of many, and its message where neither tells enough.
fn classify_mysql(number: u16, state: &str, message: &str) -> Kind {
    match (number, state) {
        // Disk or table full. A file could not be written, or a storage engine or a commit failed, because of that.
        (1021 | 1114, _) => Kind::DiskFull,
        (1026 | 1030 | 1180 | 3, _) if is_enospc(message) => Kind::DiskFull,
        // Lock wait timeout.
        (1205, _) => Kind::Blocked,
        // Deadlock, record changed since the last read, table of locks full. The statement's time was up,
        // on MariaDB and on MySQL, or it was interrupted (a connection that was killed is none of these: it is gone).
        // And a commit that was rolled back: a log could not be written, or a cluster's plugin refused. And
        // a connection that was closed since it was idle, before the statement came.
        (1213 | 1020 | 1206 | 1969 | 3024 | 1317 | 1026 | 3100 | 3101 | 4031, _) => Kind::Transient,
        // Read-only, as a replica or after a failover.
        (1290 | 1792 | 1836, _) => Kind::ReadOnly,
        // Too many connections; out of memory; a node of a cluster that is not ready; offline.
        (1040 | 1203 | 1037 | 1041 | 1047 | 3032, _) => Kind::Unreachable,
        // Shutting down, or the connection was killed or broke: a commit may have happened before. A commit that failed in the
        // storage engine: the node of a Galera cluster that is being cut off says so, and the others may have the commit.
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
        READONLY => Kind::ReadOnly,
        FULL => Kind::DiskFull,
        CANTOPEN => Kind::Unreachable,
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

    /// A password that was changed, a database that is gone: nothing was sent, and the commands are not to blame.
    #[test]
    fn what_keeps_a_connection_from_being_made_refuses_no_command() {
        let refused = || RuntimeErr::SqlxError(sqlx::Error::Configuration("no".into()).into());
        assert!(matches!(classify(DbErr::Conn(refused()), Purpose::Write), StoreError::Unreachable(_)));
        assert!(matches!(classify(DbErr::Query(refused()), Purpose::Write), StoreError::Rejected(_)));
    }
}
