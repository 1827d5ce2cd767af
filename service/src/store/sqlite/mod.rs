//! The connections to a SQLite file that no driver stands before: one writes batches, one reads keys' rows.
//!
//! A call into SQLite blocks, and it has one writer at a time. So each connection has a thread of its own that carries out one
//! job after another; a driver would hand every statement from thread to thread. What is rare (membership, sweeping,
//! migrations) goes through SeaORM like everywhere else, in turn with the one that writes.

mod file;
mod reader;
mod statements;
mod thread;
mod write_permits;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use rusqlite::{Connection, OpenFlags, PrepFlags, Result as SqliteResult, Statement};
use tokio::sync::oneshot;

pub(super) use self::{
    file::{FileWatch, prepare as prepare_file},
    reader::SqliteReader,
    write_permits::WritePermit,
};
use self::{statements::Written, thread::Thread, write_permits::WritePermits};
use super::{
    Committed, DecideLocked, Loaded, StoreError, Write,
    classify::classify_sqlite,
    connect::{SQLITE_BUSY_POLL, SQLITE_BUSY_TIMEOUT, SQLITE_CHECKPOINT_PAGES, SQLITE_WRITER_CACHE_KIB},
    dialect::Dialect,
};
use crate::tasks::spawn_critical_thread;

/// What the thread is asked for.
enum Job {
    /// Write a batch.
    Commit { writes: Arc<Vec<Write>>, done: oneshot::Sender<SqliteResult<Written>> },
    /// Take the right to write, say so, wait for the writes, and write them; where none come, give it back.
    Locked {
        locked: oneshot::Sender<SqliteResult<()>>,
        decided: oneshot::Receiver<Arc<Vec<Write>>>,
        done: oneshot::Sender<SqliteResult<Written>>,
    },
    /// Look whether another process has written.
    Look { done: oneshot::Sender<()> },
    /// What was written since the last look was written by this process.
    Overlook,
}

/// The way to the thread. It ends when nobody can send any more. The channel has no bound of its own: the commits that are
/// under way and the turns of the other connection each have one job in it at the most.
#[derive(Debug)]
struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    fn send(&self, job: Job) -> Result<(), StoreError> {
        self.0.send(job).map_err(|_| ended())
    }

    /// Has the thread look whether another process has written, and waits until it has.
    async fn look(&self) {
        let (done, looked) = oneshot::channel();
        if self.send(Job::Look { done }).is_ok() {
            // A thread that ended is noticed by whoever writes.
            let _ = looked.await;
        }
    }

    /// Has the thread take what was written since it looked for this process's own.
    fn skip_next(&self) {
        let _ = self.send(Job::Overlook);
    }

    #[cfg(test)]
    fn of_nobody() -> Self {
        Self(mpsc::channel().0)
    }
}

/// The writing thread's handle. The thread ends with it.
#[derive(Debug)]
pub(super) struct SqliteWriter {
    jobs: Jobs,
    write_permits: WritePermits,
    /// Whether another process was seen to write to the file. The thread sets it, and nobody unsets it: it orders nothing.
    others_noticed: Arc<AtomicBool>,
}

impl SqliteWriter {
    /// Opens a file that exists.
    pub(super) async fn open(path: PathBuf) -> Result<Self, StoreError> {
        let (jobs, inbox) = mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let others_noticed = Arc::new(AtomicBool::new(false));
        let noticed = Arc::clone(&others_noticed);
        let run = move || match open_file(&path, SQLITE_WRITER_CACHE_KIB) {
            Ok(connection) => {
                // Where nobody waits for this any more, nobody sends jobs either.
                let _ = opened.send(Ok(()));
                Thread::new(&connection, noticed).work(&inbox);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = spawn_critical_thread("sqlite-writer", run);
        thread.map_err(|error| StoreError::Unreachable(Box::new(error)))?;
        is_open.await.map_err(|_| ended())?.map_err(classify_sqlite)?;
        Ok(Self { jobs: Jobs(jobs), write_permits: WritePermits::new(), others_noticed })
    }

    /// Waits for the turn of a connection other than the thread's.
    pub(super) async fn turn_of_rest(&self) -> WritePermit<'_> {
        self.write_permits.exclusive(&self.jobs).await
    }

    /// Whether another process has written to this file since this one began.
    pub(super) fn noticed_others(&self) -> bool {
        self.others_noticed.load(Ordering::Relaxed)
    }

    /// Writes a batch.
    pub(super) async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        let _turn = self.write_permits.of_batches().await;
        let (done, outcome) = oneshot::channel();
        self.jobs.send(Job::Commit { writes, done })?;
        committed(outcome).await
    }

    /// Loads while nobody can write, lets `decide` decide, and writes.
    pub(super) async fn commit_locked(
        &self,
        load: impl Future<Output = Result<Loaded, StoreError>>,
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        let _turn = self.write_permits.of_batches().await;
        let (locked, is_locked) = oneshot::channel();
        let (send_decided, decided) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        self.jobs.send(Job::Locked { locked, decided, done })?;
        is_locked.await.map_err(|_| ended())?.map_err(classify_sqlite)?;
        let loaded = load.await?;
        let db_time = loaded.db_time;
        // What cannot be read is found by the next load, which answers for it.
        let writes = Arc::new(loaded.all().map_or_else(Vec::new, |states| decide(states, db_time)));
        if writes.is_empty() {
            return Ok((Vec::new(), Committed { tokens: Vec::new(), db_time }));
        }
        // If the thread is gone, the outcome tells.
        let _ = send_decided.send(Arc::clone(&writes));
        let committed = committed(outcome).await?;
        Ok((Arc::unwrap_or_clone(writes), committed))
    }
}

async fn committed(outcome: oneshot::Receiver<SqliteResult<Written>>) -> Result<Committed, StoreError> {
    let written = outcome.await.map_err(|error| StoreError::Unknown(Box::new(error)))?;
    let Written { tokens, db_time, .. } = written.map_err(classify_sqlite)?;
    Ok(Committed { tokens, db_time })
}

fn ended() -> StoreError {
    StoreError::Unreachable("the thread that writes to SQLite has ended".into())
}

/// Waits for another process's write. `tries` counts how often it did so for the same statement.
fn wait_for_others(tries: i32) -> bool {
    std::thread::sleep(SQLITE_BUSY_POLL);
    SQLITE_BUSY_POLL * tries.unsigned_abs() < SQLITE_BUSY_TIMEOUT
}

/// Opens a file that SeaORM's connections have created: page size and log are set by then.
fn open_file(path: &Path, cache_kib: &str) -> SqliteResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_others))?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {SQLITE_CHECKPOINT_PAGES}; \
         PRAGMA cache_size = {cache_kib}; PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(connection)
}

/// A statement that is used for as long as the connection is.
fn prepare<'c>(connection: &'c Connection, sql: &str) -> SqliteResult<Statement<'c>> {
    connection.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)
}

/// Asks for the time.
fn now() -> String {
    Dialect::Sqlite.sql("SELECT {now}")
}
