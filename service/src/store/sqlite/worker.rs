//! A thread that owns a connection to a SQLite file and carries out one job after another.

use std::{path::PathBuf, sync::mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::settings::open;
use crate::{
    store::{StoreError, classify::classify_sqlite},
    tasks::spawn_critical_thread,
};

/// A thread's inbox. The thread ends when its inbox is dropped. The channel needs no bound: every load, every
/// commit, every write permit and every check has few jobs in it, and waits for them.
pub(super) struct Worker<J>(mpsc::Sender<J>);

impl<J> std::fmt::Debug for Worker<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Worker").finish_non_exhaustive()
    }
}

impl<J: Send + 'static> Worker<J> {
    /// Opens an existing file on a new thread, which runs `work` until nobody can send jobs any more.
    pub(super) async fn open(
        name: &str,
        path: PathBuf,
        cache_kib: &'static str,
        work: impl FnOnce(&Connection, mpsc::Receiver<J>) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (jobs, inbox) = mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let run = move || {
            let connection = open(&path, cache_kib);
            // If the caller is gone, nobody can send jobs, and the work ends at once.
            let _ = match connection {
                Ok(connection) => opened.send(Ok(())).map(|()| work(&connection, inbox)),
                Err(error) => opened.send(Err(error)),
            };
        };
        spawn_critical_thread(name, run).map_err(|error| StoreError::Unreachable(Box::new(error)))?;
        is_open.await.map_err(|_| ended())?.map_err(classify_sqlite)?;
        Ok(Self(jobs))
    }

    /// Sends a job.
    pub(super) fn send(&self, job: J) -> Result<(), StoreError> {
        self.0.send(job).map_err(|_| ended())
    }

    /// An inbox without a thread.
    #[cfg(test)]
    pub(super) fn without_a_thread() -> Self {
        Self(mpsc::channel().0)
    }
}

/// The error of a job whose thread has ended: the job was not carried out.
pub(super) fn ended() -> StoreError {
    StoreError::Unreachable("the thread of a SQLite connection has ended".into())
}
