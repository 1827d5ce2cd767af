//! The threads of an engine. They end with the engine, and a panic in one of them ends the engine, not the process.

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

/// The largest number of threads for the engine's tasks.
const MOST_THREADS: usize = 2;
/// The time limit for draining the engine's queues when the engine is dropped.
const DRAIN: Duration = Duration::from_secs(1);

/// The runtime of an engine. A keeper thread owns it, since a runtime must not be shut down from within or from an async task.
pub(super) struct Threads {
    runtime: Handle,
    failure: Arc<Failure>,
    /// Sending on this channel, or dropping it, shuts the runtime down.
    end: Option<oneshot::Sender<Arc<Engine>>>,
    engine: Option<Arc<Engine>>,
}

/// Records the first panic of a task that the engine cannot work without.
#[derive(Default)]
struct Failure {
    why: OnceLock<String>,
    happened: CancellationToken,
}

/// The number of threads for the engine's tasks: half of the processors, at most [`MOST_THREADS`]. The database and the caller
/// need the rest, and waking another thread costs more than it gains.
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
                // Leave the queues, so that other replicas need not wait until they declare this one dead.
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

    /// Makes the drop of these threads drain `engine`.
    pub(super) fn drain_at_the_end(&mut self, engine: Arc<Engine>) {
        self.engine = Some(engine);
    }

    /// Cancelled when the engine has failed.
    pub(super) fn failed(&self) -> CancellationToken {
        self.failure.happened.clone()
    }

    /// Runs `work` on the engine's threads. Dropping the future, or a failure of the engine, aborts it.
    pub(super) async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> LockResult<T> {
        let done = AbortOnDropHandle::new(self.runtime.spawn(work)).await;
        done.map_err(|_| {
            self.failure().unwrap_or_else(|| LockError::Unreachable("the engine has ended".to_owned()))
        })
    }

    /// The error that all calls return once the engine has failed.
    pub(super) fn failure(&self) -> Option<LockError> {
        self.failure.why.get().cloned().map(LockError::EngineFailed)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Without an engine the channel is just closed, which shuts the runtime down too.
        if let (Some(end), Some(engine)) = (self.end.take(), self.engine.take()) {
            // Sending fails if the engine has failed and the runtime is gone.
            drop(end.send(engine));
        }
    }
}

impl Failure {
    fn note(&self, message: &str) {
        tracing::error!(message, "a task of the engine has panicked; its client has failed");
        // Keep the first panic: later ones follow from it.
        let _ = self.why.set(message.to_owned());
        self.happened.cancel();
    }
}
