//! The engine in this process with the guards of the crate `db_locks`: locks that renew themselves.

use std::time::Duration;

use db_locks::{Client, LockGuard};

use super::{Ask, Failure, Grant, embedded::failure};

/// A client of the engine, with the lock that it holds.
pub(crate) struct Guards {
    client: Client,
    ask: Ask,
    held: Option<LockGuard>,
}

impl Guards {
    /// Shares the engine, and the thread that renews.
    pub(super) fn new(client: &Client, ask: Ask) -> Self {
        Self { client: client.clone(), ask, held: None }
    }

    /// Acquires; the grant's name is its version.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        let (lease, wait) =
            (Duration::from_millis(self.ask.lease_ms), Duration::from_millis(self.ask.wait_ms));
        let request = self.client.lock(key).lease(lease).wait(wait).owner("bench");
        let guard = request.acquire().await.map_err(|error| failure("acquire", &error))?;
        let (name, fencing_token) = (guard.version().to_owned(), guard.fencing_token());
        self.held = Some(guard);
        Ok(Grant { name, fencing_token, ..Grant::default() })
    }

    /// Releases the lock.
    pub(super) async fn release(&mut self) -> Result<(), Failure> {
        let guard = self.held.take().ok_or(Failure::Malformed("release"))?;
        guard.release().await.map_err(|error| failure("release", &error))
    }
}
