//! What keeps this replica from writing for as long as nobody does anything about it: a schema of another version, a SQLite
//! file that was taken away. The store refuses every write then. Here it is noticed, logged once, and told to all who wait.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{EngineError, Shared, message::Message};
use crate::store::StoreError;

/// The pause between two looks. A newer version's migration stops this replica after so long at the latest.
const LOOK: Duration = Duration::from_secs(2);

/// What is in the way, if anything.
#[derive(Debug, Default)]
pub(super) struct WriteRefusal {
    /// Whether `what` holds anything.
    is_there: AtomicBool,
    /// Held only to copy.
    what: Mutex<Option<EngineError>>,
}

impl WriteRefusal {
    /// Refuses what would have to be written.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        if !self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        (*self.what.lock().unwrap_or_else(PoisonError::into_inner)).map_or(Ok(()), Err)
    }

    /// Returns what was in the way before.
    fn set(&self, what: Option<EngineError>) -> Option<EngineError> {
        self.is_there.store(what.is_some(), Ordering::Relaxed);
        std::mem::replace(&mut self.what.lock().unwrap_or_else(PoisonError::into_inner), what)
    }
}

/// Looks again and again. Never returns.
pub(super) async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        match shared.store.check_ready().await {
            Ok(()) => {
                if shared.write_refusal.set(None).is_some() {
                    tracing::warn!("this replica writes again");
                }
            }
            Err(error) => on_error(&shared, &error),
        }
    }
}

fn on_error(shared: &Shared, error: &StoreError) {
    // Others pass, and are noticed by whoever has something to write.
    let Some(what) = EngineError::of_lasting(error) else { return };
    if shared.write_refusal.set(Some(what)) != Some(what) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "this replica refuses all writes from now on"
        );
        shared.broadcast(|| Message::Evict { draining: None });
    }
}
