//! The threads of an engine, which are this process's guests: they end with the engine, and a panic in them ends the engine only.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use db_locks_service::{engine::Engine, report_panics};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::answers::unreachable;
use crate::error::{LockError, LockResult};

/// The most threads that carry out the engine's tasks.
const MOST_THREADS: usize = 2;
/// How long the engine may take to leave its queues when it is dropped.
const DRAIN: Duration = Duration::from_secs(1);

/// The runtime of an engine. A thread of its own keeps it, since a runtime cannot be ended from within, nor from an async task.
pub(super) struct Threads {
    runtime: Handle,
    failure: Arc<Failure>,
    /// Dropped or used, it ends the runtime.
    end: Option<oneshot::Sender<Arc<Engine>>>,
    engine: Option<Arc<Engine>>,
}

/// That a task has panicked without which the engine does not work.
#[derive(Default)]
struct Failure {
    why: OnceLock<String>,
    happened: CancellationToken,
}

/// The number of threads that carry out the engine's tasks: half of the processors, since the database and the caller need the
/// rest, and waking another thread costs more than it brings.
pub(super) fn count() -> usize {
    std::thread::available_parallelism()
        .map_or(1, |processors| processors.get().div_ceil(2))
        .min(MOST_THREADS)
}

impl Threads {
    pub(super) fn start() -> LockResult<Self> {
        let failure = Arc::new(Failure::default());
        let reported = Arc::clone(&failure);
        let runtime = Builder::new_multi_thread()
            .worker_threads(count())
            .thread_name("db-locks-engine")
            .on_thread_start(move || {
                let failure = Arc::clone(&reported);
                report_panics(Arc::new(move |message| failure.note(message)));
            })
            .enable_all()
            .build()
            .map_err(|error| unreachable(&error))?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let failed = failure.happened.clone();
        let keep = move || {
            runtime.block_on(failed.run_until_cancelled(async {
                // Others need not wait until this one is taken for dead. A process that ends before that is.
                if let Ok(engine) = ended.await {
                    let engine: Arc<Engine> = engine;
                    engine.drain(DRAIN).await;
                }
            }));
            runtime.shutdown_background();
        };
        let keeper = std::thread::Builder::new().name("db-locks-keeper".to_owned());
        keeper.spawn(keep).map_err(|error| unreachable(&error))?;
        Ok(Self { runtime: handle, failure, end: Some(end), engine: None })
    }

    /// Has an engine leave its queues when this is dropped.
    pub(super) fn drain_at_the_end(&mut self, engine: Arc<Engine>) {
        self.engine = Some(engine);
    }

    /// Cancelled when the engine has failed.
    pub(super) fn failed(&self) -> CancellationToken {
        self.failure.happened.clone()
    }

    /// Carries out work; it is ended when the future is dropped, and when the engine fails.
    pub(super) async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> LockResult<T> {
        let done = AbortOnDropHandle::new(self.runtime.spawn(work)).await;
        done.map_err(|_| {
            self.failure().unwrap_or_else(|| LockError::Unreachable("the engine has ended".to_owned()))
        })
    }

    /// What all calls are answered once the engine has failed.
    pub(super) fn failure(&self) -> Option<LockError> {
        self.failure.why.get().cloned().map(LockError::EngineFailed)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Without an engine the channel is closed, which ends the runtime too.
        if let (Some(end), Some(engine)) = (self.end.take(), self.engine.take()) {
            // It has ended already if the engine failed.
            drop(end.send(engine));
        }
    }
}

impl Failure {
    fn note(&self, message: &str) {
        tracing::error!(message, "a task of the engine has panicked; its client has failed");
        // The first one is the cause.
        let _ = self.why.set(message.to_owned());
        self.happened.cancel();
    }
}
