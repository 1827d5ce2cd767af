//! The engine with its threads: how it starts, is called, and stops.

use std::{fmt, sync::Arc, time::Duration};

use db_locks_service::{
    Limits, LockService, ServiceError,
    audit::AuditLog,
    engine::{Engine, EngineOptions, SweepOptions},
    store::{self, DatabaseOptions, Store, StoreError},
};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use super::answers;
use crate::error::{LockError, LockResult};

/// Connections to the database: those that commit, and a few for everything else.
const CONNECTIONS: u32 = 5;
/// Threads of the engine.
const THREADS: usize = 2;
/// Few large batches cost a database less than many small ones.
const SHARDS: usize = 2;
/// Bytes of remembered states of keys.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// How many acquires may be queued for the database.
const MAX_QUEUED: usize = 20_000;
/// How long acquires may wait for a batch before further ones are refused.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(2);
/// How long a release waits for a transaction that called the guard, as at the service.
const GUARD_WAIT: Duration = Duration::from_secs(5);
/// How long the engine may take to leave its queues when it is dropped.
const DRAIN: Duration = Duration::from_secs(1);

/// A running engine.
pub(super) struct EmbeddedEngine {
    service: LockService,
    engine: Arc<Engine>,
    threads: Threads,
}

impl EmbeddedEngine {
    /// Starts it on the database of this URL, whose schema is brought up to date first.
    pub(super) async fn start(url: &str) -> LockResult<Self> {
        let options = DatabaseOptions::new(url, CONNECTIONS);
        let options = options.map_err(|error| LockError::Validation(error.to_string()))?;
        let threads = Threads::start()?;
        let opened = threads.carry_out(async move {
            store::migrate_up(&options).await?;
            let store = store::connect(&options).await?;
            store.check_ready().await?;
            let engine = Engine::start(store.clone(), engine_options(&*store), AuditLog::off());
            Ok::<_, StoreError>((store, engine))
        });
        let (store, engine) = opened.await?.map_err(|error| unreachable(&error))?;
        let service = LockService::new(engine.clone(), store, Limits::default());
        Ok(Self { service, engine, threads })
    }

    pub(super) fn limits(&self) -> &Limits {
        self.service.limits()
    }

    /// Makes a call in the engine's threads. Dropped, it is undone as if a connection had been closed.
    pub(super) async fn call<T, F>(&self, call: impl FnOnce(LockService) -> F) -> LockResult<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        self.threads.carry_out(call(self.service.clone())).await?.map_err(answers::error)
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        // Others need not wait until this one is taken for dead. A process that ends before that is.
        if let Some(runtime) = self.threads.0.take() {
            let engine = self.engine.clone();
            let drain = move || {
                runtime.block_on(engine.drain(DRAIN));
                runtime.shutdown_background();
            };
            drop(std::thread::Builder::new().name("db-locks-drain".to_owned()).spawn(drain));
        }
    }
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEngine").finish_non_exhaustive()
    }
}

/// The runtime of the engine; `None` while its end is under way. Dropped in an async task, a plain one would panic.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> LockResult<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("db-locks-engine").enable_all().build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(|error| unreachable(&error))
    }

    /// Carries out work; it is ended when the future is dropped.
    async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> LockResult<T> {
        let ended = || LockError::Unreachable("the engine has ended".to_owned());
        let runtime = self.0.as_ref().ok_or_else(ended)?;
        AbortOnDropHandle::new(runtime.spawn(work)).await.map_err(|_| ended())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn engine_options(store: &dyn Store) -> EngineOptions {
    let limits = Limits::default();
    EngineOptions {
        shards: if store.commits_in_parallel() { SHARDS } else { 1 },
        memory_bytes: MEMORY_BYTES,
        max_queued: MAX_QUEUED,
        max_queue_wait: MAX_QUEUE_WAIT,
        max_waiters_per_key: limits.max_waiters_per_key,
        max_waiters_per_tenant: limits.max_waiters,
        max_waiters: limits.max_waiters,
        guard_wait: GUARD_WAIT,
        sweep: SweepOptions::DEFAULT,
    }
}

fn unreachable(error: &dyn std::error::Error) -> LockError {
    LockError::Unreachable(error.to_string())
}
