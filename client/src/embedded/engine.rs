//! Starts, calls and stops an engine on a database.

use std::{fmt, sync::Arc, time::Duration};

use db_locks_service::{
    Limits, LockService, ServiceError,
    audit::AuditLog,
    engine::{Engine, EngineOptions, SweepOptions},
    store::{self, DatabaseOptions, Store, StoreError},
};
use tokio_util::sync::CancellationToken;

use super::{
    answers,
    threads::{self, Threads},
};
use crate::error::{LockError, LockResult};

/// The number of connections to the database: those for commits, and a few for everything else.
const CONNECTIONS: u32 = 5;
/// The size of the cache of key states, in bytes, as in the service. A key that is not cached costs a load in addition to each
/// write.
const MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// A running engine.
pub(super) struct EmbeddedEngine {
    service: LockService,
    threads: Threads,
}

impl EmbeddedEngine {
    /// Starts an engine on the database at `url`. Migrates the schema first, or checks that it is up to date.
    pub(super) async fn start(url: &str, migrate: bool) -> LockResult<Self> {
        let options = DatabaseOptions::new(url, CONNECTIONS);
        let options = options.map_err(|error| LockError::Validation(error.to_string()))?;
        let place = options.place().clone();
        let mut threads = Threads::start()?;
        let opened = threads.carry_out(async move {
            if migrate {
                store::migrate_up(&options).await?;
            } else {
                store::check_schema(&options).await?;
            }
            let store = store::connect(&options).await?;
            store.check_ready().await?;
            let engine = Engine::start(store.clone(), engine_options(&*store), AuditLog::off());
            Ok::<_, StoreError>((store, engine))
        });
        let (store, engine) = opened.await?.map_err(|error| answers::not_opened(&place, &error))?;
        threads.drain_at_the_end(Arc::clone(&engine));
        Ok(Self { service: LockService::new(engine, store, Limits::default()), threads })
    }

    pub(super) fn failed(&self) -> CancellationToken {
        self.threads.failed()
    }

    pub(super) fn limits(&self) -> &Limits {
        self.service.limits()
    }

    /// Makes a call that tasks of the engine carry out, so it can be awaited in any runtime. Dropping the future undoes the call, as
    /// closing the connection does over HTTP.
    pub(super) async fn call<T, F>(&self, call: impl FnOnce(LockService) -> F) -> LockResult<T>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        // Parts of a failed engine may run for a moment longer. They must not release a lock that the client has reported as lost.
        if let Some(failure) = self.threads.failure() {
            return Err(failure);
        }
        // A call that was under way when the engine failed gets "the engine stops"; answer with the failure instead.
        call(self.service.clone())
            .await
            .map_err(|error| self.threads.failure().unwrap_or(answers::error(error)))
    }

    /// Makes a call that reads from the database. It runs on the engine's threads, which own the connections.
    pub(super) async fn read<T, F>(&self, call: impl FnOnce(LockService) -> F) -> LockResult<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        self.threads.carry_out(call(self.service.clone())).await?.map_err(answers::error)
    }
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEngine").finish_non_exhaustive()
    }
}

fn engine_options(store: &dyn Store) -> EngineOptions {
    let limits = Limits::default();
    EngineOptions {
        // Few large batches cost a database less than many small ones.
        shards: if store.commits_in_parallel() { threads::count() } else { 1 },
        memory_bytes: MEMORY_BYTES,
        max_queued: EngineOptions::MAX_QUEUED,
        max_queue_wait: Duration::from_millis(EngineOptions::MAX_QUEUE_MS),
        max_waiters_per_key: limits.max_waiters_per_key,
        max_waiters_per_tenant: limits.max_waiters,
        max_waiters: limits.max_waiters,
        max_bytes_per_tenant: u64::MAX,
        guard_wait: Duration::from_millis(EngineOptions::GUARD_WAIT_MS),
        sweep: SweepOptions::DEFAULT,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use crate::{Client, EmbeddedLockService, LocksConfig};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A bug in the library must not end the program that uses it, and the program must learn that its locks are lost.
    #[tokio::test]
    async fn an_engine_that_fails_ends_its_client_and_not_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let config = LocksConfig::new(format!("sqlite://{}/locks.sqlite?mode=rwc", folder.path().display()));
        let service = EmbeddedLockService::open(&config).await.unwrap();
        let breaks = CancellationToken::new();
        let broken = breaks.clone();
        let fragile = async move {
            db_locks_service::spawn_critical(async move {
                broken.cancelled().await;
                panic!("an error in the engine");
            });
        };
        service.engine.threads.carry_out(fragile).await.unwrap();
        let client = Client::embedded(service).unwrap();
        let guard = client.lock("k").lease(Duration::from_mins(1)).acquire().await.unwrap();
        let waiting = tokio::spawn(client.lock("k").wait(Duration::from_mins(1)).acquire());
        while client.get_lock("k").await.unwrap().waiters == 0 {
            tokio::task::yield_now().await;
        }

        breaks.cancel();
        tokio::time::timeout(SOON, guard.lost()).await.unwrap();
        assert!(guard.cancellation_token().is_cancelled());
        assert!(matches!(guard.release().await, Err(LockError::Lost(_))));
        let failed = |error: &LockError| error.to_string().contains("an error in the engine");
        let waited = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
        assert!(waited.as_ref().is_err_and(failed), "{waited:?}");
        let later = client.lock("k").wait(Duration::from_mins(1)).acquire().await;
        assert!(later.as_ref().is_err_and(failed), "{later:?}");
        assert!(client.get_lock("k").await.is_err_and(|error| failed(&error)));

        // A new client starts another engine. The lease of the first client is still active.
        let again = Client::connect(&config).await.unwrap();
        assert!(again.get_lock("k").await.unwrap().locked);
    }
}
