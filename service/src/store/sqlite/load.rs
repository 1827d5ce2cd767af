//! The connection that reads keys' rows. In SQLite's WAL mode, readers and the writer do not wait for each other.

use std::{path::PathBuf, sync::mpsc};

use rusqlite::{Connection, Result, Statement};
use tokio::sync::oneshot;

use super::{
    settings::OTHERS_CACHE_KIB,
    sql,
    statements::{Prepared, Transaction, prepare},
    worker::{Worker, ended},
};
use crate::{
    domain::{KeyId, KeyState},
    store::{
        StoreError, Unreadable,
        rows::{ReadStates, read_state},
    },
};

/// Keys to read, and where the answer goes.
struct Job {
    ids: Vec<KeyId>,
    done: oneshot::Sender<Result<ReadStates>>,
}

/// The handle of the thread that reads. The thread ends when it is dropped.
#[derive(Debug)]
pub(in super::super) struct SqliteReader(Worker<Job>);

impl SqliteReader {
    /// Opens a file that exists.
    pub(in super::super) async fn open(path: PathBuf) -> Result<Self, StoreError> {
        Worker::open("sqlite-reader", path, OTHERS_CACHE_KIB, work).await.map(Self)
    }

    /// Reads the states of keys without their queues and permits, and before them database time.
    pub(in super::super) async fn load(&self, ids: Vec<KeyId>) -> Result<ReadStates, StoreError> {
        let (done, outcome) = oneshot::channel();
        self.0.send(Job { ids, done })?;
        let read = outcome.await.map_err(|_| ended())?;
        // A file that cannot be read now may be readable later.
        read.map_err(|error| StoreError::Unreachable(Box::new(error)))
    }
}

/// Reads until nobody can send jobs any more.
fn work(connection: &Connection, inbox: mpsc::Receiver<Job>) {
    let mut statements = Prepared::new(connection, Statements::prepare);
    for Job { ids, done } in inbox {
        let read = statements.get().and_then(|statements| statements.read(&ids));
        // The caller may be gone.
        let _ = done.send(read);
    }
}

struct Statements<'c> {
    transaction: Transaction<'c>,
    row: Statement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            transaction: Transaction::prepare(connection, "BEGIN")?,
            row: prepare(connection, &sql::load_row())?,
        })
    }

    /// Reads rows in one snapshot.
    fn read(&mut self, ids: &[KeyId]) -> Result<ReadStates> {
        self.transaction.begin()?;
        let read = self.read_all(ids);
        self.transaction.end(read)
    }

    fn read_all(&mut self, ids: &[KeyId]) -> Result<ReadStates> {
        let db_time = self.transaction.now()?;
        let states = ids.iter().map(|id| self.state(id)).collect::<Result<_>>()?;
        Ok((states, db_time))
    }

    fn state(&mut self, id: &KeyId) -> Result<Result<KeyState, Unreadable>> {
        let mut rows = self.row.query((id.tenant.as_str(), id.key.as_str()))?;
        Ok(rows.next()?.map_or_else(|| Ok(KeyState::absent()), |row| read_state(row, 0)))
    }
}
