//! A thread that owns a connection to a SQLite file and carries out one job after another.

use std::{path::PathBuf, sync::mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::settings::open;
use crate::{
    store::{StoreError, classify::classify_sqlite},
    tasks::spawn_critical_thread,
};

/// A thread's inbox. The thread ends when its inbox is dropped. The channel has no bound of its own: every load, every commit and
/// every write permit has at most one job in it.
pub(super) struct Worker<J>(mpsc::Sender<J>);

impl<J> std::fmt::Debug for Worker<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Worker").finish_non_exhaustive()
    }
}

impl<J: Send + 'static> Worker<J> {
    /// Opens a file that exists, on a thread of its own that runs `work` until nobody can send jobs any more.
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
            // If the caller is gone, nobody sends jobs either, and the work ends at once.
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
    pub(super) fn of_nobody() -> Self {
        Self(mpsc::channel().0)
    }
}

/// The thread is gone: what was sent to it was not carried out.
pub(super) fn ended() -> StoreError {
    StoreError::Unreachable("the thread of a SQLite connection has ended".into())
}
