//! The connection that reads keys' rows out of a SQLite file.
//!
//! On a thread of its own like the one that writes, and for the same reason: a row is a call into SQLite, where a driver between
//! cost several times as much. In the log of SQLite readers and the writer do not wait for each other.

use std::{path::PathBuf, sync::mpsc};

use rusqlite::{Connection, Result as SqliteResult, Statement};
use tokio::sync::oneshot;

use super::{
    super::{
        StoreError, Unreadable,
        classify::{Purpose, classify},
        connect::SQLITE_OTHERS_CACHE_KIB,
        load::ReadStates,
        rows::read_state,
        sql::sqlite,
    },
    ended, open_file, prepare,
};
use crate::{
    domain::{KeyId, KeyState, Timestamp},
    tasks::spawn_critical_thread,
};
use sea_orm::DbErr;

/// Keys to be read, and who wants them.
struct Job {
    ids: Vec<KeyId>,
    done: oneshot::Sender<Result<ReadStates, DbErr>>,
}

/// The reading thread's handle. The thread ends with it. The channel has no bound of its own: each load that is under way has one
/// job in it.
#[derive(Debug)]
pub(in super::super) struct SqliteReader(mpsc::Sender<Job>);

impl SqliteReader {
    /// Opens a file that exists.
    pub(in super::super) async fn open(path: PathBuf) -> Result<Self, StoreError> {
        let (jobs, inbox) = mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let run = move || match open_file(&path, SQLITE_OTHERS_CACHE_KIB) {
            Ok(connection) => {
                // Where nobody waits for this any more, nobody sends jobs either.
                let _ = opened.send(Ok(()));
                work(&connection, &inbox);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = spawn_critical_thread("sqlite-reader", run);
        thread.map_err(|error| StoreError::Unreachable(Box::new(error)))?;
        is_open.await.map_err(|_| ended())?.map_err(super::classify_sqlite)?;
        Ok(Self(jobs))
    }

    /// The states of keys, without what hangs on their rows, and the time, read before them.
    pub(in super::super) async fn load(&self, ids: Vec<KeyId>) -> Result<ReadStates, StoreError> {
        let (done, outcome) = oneshot::channel();
        self.0.send(Job { ids, done }).map_err(|_| ended())?;
        let read = outcome.await.map_err(|_| ended())?;
        read.map_err(|error| classify(error, Purpose::Read))
    }
}

/// Reads until nobody can ask any more.
fn work(connection: &Connection, inbox: &mpsc::Receiver<Job>) {
    let mut statements = None;
    while let Ok(Job { ids, done }) = inbox.recv() {
        // Prepared with the first job: the tables may be created after the file is opened.
        let read = match &mut statements {
            Some(statements) => Ok(statements),
            None => Statements::prepare(connection).map(|prepared| statements.insert(prepared)),
        };
        let read = read.map_err(|error| unread(&error)).and_then(|statements| statements.read(&ids));
        // Whoever asked may have gone.
        let _ = done.send(read);
    }
}

/// Prepared once.
struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    now: Statement<'c>,
    row: Statement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> SqliteResult<Self> {
        Ok(Self {
            begin: prepare(connection, "BEGIN")?,
            commit: prepare(connection, "COMMIT")?,
            rollback: prepare(connection, "ROLLBACK")?,
            now: prepare(connection, &super::now())?,
            row: prepare(connection, sqlite::LOAD_ROW)?,
        })
    }

    /// Reads rows in one snapshot.
    fn read(&mut self, ids: &[KeyId]) -> Result<ReadStates, DbErr> {
        self.begin.raw_execute().map_err(|error| unread(&error))?;
        let read = self.read_all(ids);
        match self.commit.raw_execute() {
            Ok(_) => read,
            Err(error) => {
                // A transaction that stayed open would be in the way of every later one.
                let _ = self.rollback.raw_execute();
                Err(unread(&error))
            }
        }
    }

    fn read_all(&mut self, ids: &[KeyId]) -> Result<ReadStates, DbErr> {
        let db_time = self.now.query_row([], |row| row.get(0)).map_err(|error| unread(&error))?;
        let states = ids.iter().map(|id| self.state(id)).collect::<Result<_, _>>()?;
        Ok((states, Timestamp(db_time)))
    }

    fn state(&mut self, id: &KeyId) -> Result<Result<KeyState, Unreadable>, DbErr> {
        let mut rows =
            self.row.query((id.tenant.as_str(), id.key.as_str())).map_err(|error| unread(&error))?;
        match rows.next().map_err(|error| unread(&error))? {
            Some(row) => Ok(read_state(row, 0)),
            None => Ok(Ok(KeyState::absent())),
        }
    }
}

/// A file that cannot be read now may be read later.
fn unread(error: &rusqlite::Error) -> DbErr {
    DbErr::Conn(sea_orm::RuntimeErr::Internal(error.to_string()))
}
