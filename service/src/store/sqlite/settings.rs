//! Settings of every connection to a SQLite file.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, Result};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

/// How long to wait for another process's write to the file. An operation may take longer, so a batch behind another
/// one fails as busy and not with an unknown outcome.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two tries to write to a busy file. SQLite's own pauses grow to 100 ms, which gives the longest
/// waiter the least chance.
pub(super) const BUSY_POLL: Duration = Duration::from_millis(1);
/// The size of a page. A commit writes whole pages, and each key of a batch lies on another page, so small pages make a
/// commit small. Measured at 128 connections: 18,000 pairs of acquire and release a second, where 4,096 bytes gave
/// 14,000.
const PAGE_BYTES: u32 = 1_024;
/// The number of pages in the log after which a commit moves them into the file: 16 MiB.
const CHECKPOINT_PAGES: &str = "16000";
/// The cache of the connection that writes batches, in KiB. SQLite takes KiB as a negative number. The system caches
/// the file, too.
pub(super) const WRITER_CACHE_KIB: &str = "-4000";
/// The caches of the other connections.
pub(super) const OTHERS_CACHE_KIB: &str = "-1000";

/// Options of the driver's connections.
pub(in super::super) fn connect_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .page_size(PAGE_BYTES)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", OTHERS_CACHE_KIB)
        .pragma("temp_store", "MEMORY")
        .foreign_keys(false)
}

/// Opens a connection of our own to a file. The driver's connections have created the file and set its page size and
/// log.
pub(super) fn open(path: &Path, cache_kib: &str) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_waits(&connection, true)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; \
         PRAGMA cache_size = {cache_kib}; PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(connection)
}

/// Sets whether statements wait for another process's write.
pub(super) fn set_waits(connection: &Connection, waits: bool) -> Result<()> {
    connection.busy_handler(if waits { Some(wait_for_others) } else { None })
}

/// Waits for another process's write. `tries` counts the calls for the same statement.
fn wait_for_others(tries: i32) -> bool {
    std::thread::sleep(BUSY_POLL);
    BUSY_POLL * tries.unsigned_abs() < BUSY_TIMEOUT
}
