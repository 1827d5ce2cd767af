//! The engine in this process, by the crate `db_locks`: all clients of a measurement share one.

use db_locks::{AcquireLockOptions, AcquireLockOptionsBuilder, Client, LockError, ReleaseLockOptions};

use super::{Ask, Failure, Grant};

/// A client of the engine.
pub(crate) struct Embedded {
    engine: Client,
    options: AcquireLockOptions,
}

impl Embedded {
    /// Shares the engine.
    pub(super) fn new(engine: &Client, ask: Ask) -> Self {
        let lease_ms = i64::try_from(ask.lease_ms).unwrap_or(i64::MAX);
        let wait_ms = i64::try_from(ask.wait_ms).unwrap_or(i64::MAX);
        let options = AcquireLockOptionsBuilder::new("", lease_ms)
            .with_owner("bench")
            .with_override_time_to_wait_for_lock_ms(wait_ms)
            .build();
        Self { engine: engine.clone(), options }
    }

    /// Acquires; the grant's name is its version.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        key.clone_into(&mut self.options.key);
        let lock =
            self.engine.acquire_lock(&self.options).await.map_err(|error| failure("acquire", &error))?;
        let name = lock.version.ok_or(Failure::Malformed("acquire"))?;
        Ok(Grant { name, fencing_token: lock.fencing_token, ..Grant::default() })
    }

    /// Releases.
    pub(super) async fn release(&self, key: &str, grant: &Grant) -> Result<(), Failure> {
        let options = ReleaseLockOptions::new(key, grant.name.clone(), None, None);
        self.engine.release_lock(&options).await.map(drop).map_err(|error| failure("release", &error))
    }
}

pub(super) fn failure(call: &'static str, error: &LockError) -> Failure {
    Failure::driver(call, error)
}
