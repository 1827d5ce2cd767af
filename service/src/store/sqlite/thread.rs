//! The thread: one job after another, and an eye on who else writes to the file.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use rusqlite::{Connection, Result};
use tokio::sync::oneshot;

use super::{
    super::Write,
    Job,
    statements::{Statements, Written},
};

/// What the thread owns.
pub(super) struct Thread<'c> {
    connection: &'c Connection,
    /// Prepared with the first write: the tables may be created after the file is opened.
    statements: Option<Statements<'c>>,
    /// What `PRAGMA data_version` told last. It changes when a connection other than this one has written.
    version: Option<i64>,
    /// Set when another process was seen to write.
    others_noticed: Arc<AtomicBool>,
}

impl<'c> Thread<'c> {
    pub(super) fn new(connection: &'c Connection, others_noticed: Arc<AtomicBool>) -> Self {
        let mut thread = Self { connection, statements: None, version: None, others_noticed };
        thread.version = thread.read_version();
        thread
    }

    /// Carries out jobs until nobody can send any more.
    pub(super) fn work(mut self, inbox: &mpsc::Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            self.carry_out(job);
        }
    }

    /// Carries out a job. Whoever asked may have gone; then nobody hears of it.
    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Commit { writes, done } => {
                let written = self.begin().and_then(|()| self.write_and_commit(&writes));
                // The writes go first: whoever gets the answer wants them back whole.
                drop(writes);
                let _ = done.send(written);
            }
            Job::Locked { locked, decided, done } => match self.begin() {
                Ok(()) => {
                    let _ = locked.send(Ok(()));
                    self.write_decided(decided, done);
                }
                Err(error) => {
                    let _ = locked.send(Err(error));
                }
            },
            Job::Look { done } => {
                if let Some(version) = self.read_version() {
                    self.note(version);
                }
                let _ = done.send(());
            }
            Job::Overlook => self.version = self.read_version().or(self.version),
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
        } else if let Some(statements) = &mut self.statements {
            statements.roll_back();
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.statements()?.begin()
    }

    fn write_and_commit(&mut self, writes: &[Write]) -> Result<Written> {
        let written = self.statements()?.write_and_commit(writes)?;
        self.note(written.data_version);
        Ok(written)
    }

    fn statements(&mut self) -> Result<&mut Statements<'c>> {
        let statements = match self.statements.take() {
            Some(statements) => statements,
            None => Statements::prepare(self.connection)?,
        };
        Ok(self.statements.insert(statements))
    }

    fn read_version(&self) -> Option<i64> {
        self.connection.pragma_query_value(None, "data_version", |row| row.get(0)).ok()
    }

    fn note(&mut self, version: i64) {
        if self.version.replace(version).is_some_and(|before| before != version) {
            self.others_noticed.store(true, Ordering::Relaxed);
        }
    }
}
