//! The connection that writes batches, and notices when other processes write to the file.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use rusqlite::{Connection, ErrorCode, Result};
use tokio::sync::{RwLock, RwLockWriteGuard, oneshot};

use super::{
    commit::{Statements, Written},
    settings::{WRITER_CACHE_KIB, set_waits},
    statements::Prepared,
    worker::{Worker, ended},
};
use crate::store::{
    Committed, DecideLocked, Loaded, StoreError, Write, classify::classify_sqlite, fence::EpochWatch,
};

/// A request to the thread.
enum Job {
    /// Write a batch.
    Commit { writes: Arc<Vec<Write>>, done: oneshot::Sender<Result<Written>> },
    /// Begin a transaction, report that, wait for the writes, and write them. Roll back if none come.
    Locked {
        locked: oneshot::Sender<Result<()>>,
        decided: oneshot::Receiver<Arc<Vec<Write>>>,
        done: oneshot::Sender<Result<Written>>,
    },
    /// Begin a transaction without waiting for other processes, and roll it back.
    TryLock { done: oneshot::Sender<Result<()>> },
    /// Check whether another process has written.
    Check { done: oneshot::Sender<()> },
    /// Treat everything written since the last check as writes of this process.
    Skip,
}

/// What the thread has noticed. Only the thread sets it, and each flag stands for itself, so relaxed ordering is enough.
#[derive(Debug, Default)]
struct Noticed {
    /// Whether another process was seen to write to the file. It stays set.
    others: AtomicBool,
    /// Whether another process kept the file locked for too long when this one last wanted to write.
    locked_out: AtomicBool,
}

/// The handle of the thread that writes. The thread ends when it is dropped.
#[derive(Debug)]
pub(in super::super) struct SqliteWriter {
    worker: Worker<Job>,
    /// Orders the writers. SQLite makes connections poll for its lock, and the one that polls least often may never get
    /// it; this lock is first come, first served. Batches share it, since the thread puts them in order.
    order: RwLock<()>,
    noticed: Arc<Noticed>,
    /// The known epoch of fencing tokens.
    epochs: Arc<EpochWatch>,
}

impl SqliteWriter {
    /// Opens a file that exists.
    pub(in super::super) async fn open(path: PathBuf, epochs: Arc<EpochWatch>) -> Result<Self, StoreError> {
        let noticed = Arc::<Noticed>::default();
        let of_thread = Arc::clone(&noticed);
        let work = move |connection: &Connection, inbox: mpsc::Receiver<Job>| {
            let mut thread = Thread::new(connection, of_thread);
            for job in inbox {
                thread.carry_out(job);
            }
        };
        let worker = Worker::open("sqlite-writer", path, WRITER_CACHE_KIB, work).await?;
        Ok(Self { worker, order: RwLock::default(), noticed, epochs })
    }

    /// Waits until another connection of this process may write.
    pub(in super::super) async fn exclusive_permit(&self) -> WritePermit<'_> {
        let guard = self.order.write().await;
        // Writes of other processes until now must not be mistaken for those under this permit.
        let (done, checked) = oneshot::channel();
        if self.worker.send(Job::Check { done }).is_ok() {
            // If the thread has ended, the next batch reports that.
            let _ = checked.await;
        }
        WritePermit { worker: &self.worker, _guard: guard }
    }

    /// Whether another process has written to this file since this one began.
    pub(in super::super) fn noticed_others(&self) -> bool {
        self.noticed.others.load(Ordering::Relaxed)
    }

    /// Fails if another process keeps the file locked. This asks only if it did so at the last write, and then asks once.
    pub(in super::super) async fn check_lock(&self) -> Result<(), StoreError> {
        if !self.noticed.locked_out.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _guard = self.order.read().await;
        let (done, tried) = oneshot::channel();
        self.worker.send(Job::TryLock { done })?;
        tried.await.map_err(|_| ended())?.map_err(classify_sqlite)
    }

    /// Writes a batch.
    pub(in super::super) async fn commit(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        let _guard = self.order.read().await;
        let (done, outcome) = oneshot::channel();
        self.worker.send(Job::Commit { writes, done })?;
        self.committed(outcome).await
    }

    /// Loads while nobody else can write, lets `decide` decide, and writes.
    pub(in super::super) async fn commit_locked(
        &self,
        load: impl Future<Output = Result<Loaded, StoreError>>,
        decide: &mut DecideLocked<'_>,
    ) -> Result<(Vec<Write>, Committed), StoreError> {
        let _guard = self.order.read().await;
        let (locked, is_locked) = oneshot::channel();
        let (send_decided, decided) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        self.worker.send(Job::Locked { locked, decided, done })?;
        is_locked.await.map_err(|_| ended())?.map_err(classify_sqlite)?;
        let loaded = load.await?;
        let db_time = loaded.db_time;
        let writes = Arc::new(loaded.decide(decide));
        if writes.is_empty() {
            return Ok((Vec::new(), Committed { tokens: Vec::new(), db_time }));
        }
        // If the thread is gone, the outcome says so.
        let _ = send_decided.send(Arc::clone(&writes));
        let committed = self.committed(outcome).await?;
        Ok((Arc::unwrap_or_clone(writes), committed))
    }
}

impl SqliteWriter {
    async fn committed(&self, outcome: oneshot::Receiver<Result<Written>>) -> Result<Committed, StoreError> {
        let written = outcome.await.map_err(|error| StoreError::Unknown(Box::new(error)))?;
        let Written { tokens, db_time, epoch, .. } = written.map_err(classify_sqlite)?;
        self.epochs.note(epoch);
        Ok(Committed { tokens, db_time })
    }
}

/// The right of another connection of this process to write, until this is dropped.
#[derive(Debug)]
pub(in super::super) struct WritePermit<'w> {
    worker: &'w Worker<Job>,
    _guard: RwLockWriteGuard<'w, ()>,
}

impl Drop for WritePermit<'_> {
    fn drop(&mut self) {
        // If the thread has ended, the next batch reports that.
        let _ = self.worker.send(Job::Skip);
    }
}

/// The state of the thread.
struct Thread<'c> {
    connection: &'c Connection,
    statements: Prepared<'c, Statements<'c>>,
    /// The last value of `PRAGMA data_version`, which changes when another connection has written.
    version: Option<i64>,
    noticed: Arc<Noticed>,
}

impl<'c> Thread<'c> {
    fn new(connection: &'c Connection, noticed: Arc<Noticed>) -> Self {
        let statements = Prepared::new(connection, Statements::prepare);
        Self { connection, statements, version: read_version(connection), noticed }
    }

    /// Carries out a job. If its caller is gone, nobody receives the answer.
    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Commit { writes, done } => {
                let written = self.begin().and_then(|()| self.write_and_commit(&writes));
                // Dropped first: the caller takes the writes out of their `Arc` once it has the answer.
                drop(writes);
                let _ = done.send(written);
            }
            Job::Locked { locked, decided, done } => {
                let begun = self.begin();
                let is_locked = begun.is_ok();
                let _ = locked.send(begun);
                if is_locked {
                    self.write_decided(decided, done);
                }
            }
            Job::TryLock { done } => {
                // The caller may be gone.
                let _ = done.send(self.try_lock());
            }
            Job::Check { done } => {
                if let Some(version) = read_version(self.connection) {
                    self.note(version);
                }
                let _ = done.send(());
            }
            Job::Skip => self.version = read_version(self.connection).or(self.version),
        }
    }

    fn write_decided(
        &mut self,
        decided: oneshot::Receiver<Arc<Vec<Write>>>,
        done: oneshot::Sender<Result<Written>>,
    ) {
        if let Ok(writes) = decided.blocking_recv() {
            let written = self.write_and_commit(&writes);
            drop(writes);
            let _ = done.send(written);
        } else if let Ok(statements) = self.statements.get() {
            statements.transaction.roll_back();
        }
    }

    fn begin(&mut self) -> Result<()> {
        let begun = self.statements.get()?.transaction.begin();
        match &begun {
            Ok(()) => self.noticed.locked_out.store(false, Ordering::Relaxed),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                self.noticed.locked_out.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        begun
    }

    fn try_lock(&mut self) -> Result<()> {
        set_waits(self.connection, false)?;
        let begun = self.begin();
        if begun.is_ok() {
            self.statements.get()?.transaction.roll_back();
        }
        set_waits(self.connection, true)?;
        begun
    }

    fn write_and_commit(&mut self, writes: &[Write]) -> Result<Written> {
        let written = self.statements.get()?.write_and_commit(writes)?;
        self.note(written.data_version);
        Ok(written)
    }

    fn note(&mut self, version: i64) {
        if self.version.replace(version).is_some_and(|before| before != version) {
            self.noticed.others.store(true, Ordering::Relaxed);
        }
    }
}

fn read_version(connection: &Connection) -> Option<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0)).ok()
}

#[cfg(test)]
mod tests;
