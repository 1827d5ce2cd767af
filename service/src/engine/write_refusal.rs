//! Conditions that stop all writes of this replica until an operator acts: a schema of another version, or a SQLite
//! file that was removed. The store refuses every write then. This module notices the condition, logs it once and
//! answers all waiters.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Shared, message::Message};
use crate::{store::StoreError, unavailable::Unavailable};

/// The pause between two checks. So this replica stops within 2 s of a breaking migration, and follows an epoch raised
/// by hand within 2 s.
const CHECK_PERIOD: Duration = Duration::from_millis(1_500);

/// The current condition, if any.
#[derive(Debug, Default)]
pub(super) struct WriteRefusal {
    /// Whether `what` is set.
    is_there: AtomicBool,
    /// The lock is held only to copy.
    what: Mutex<Option<Unavailable>>,
}

impl WriteRefusal {
    /// Fails while writes are refused.
    pub(super) fn check(&self) -> Result<(), Unavailable> {
        if !self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        (*self.what.lock().unwrap_or_else(PoisonError::into_inner)).map_or(Ok(()), Err)
    }

    /// Sets the condition. Returns the previous one.
    fn set(&self, what: Option<Unavailable>) -> Option<Unavailable> {
        self.is_there.store(what.is_some(), Ordering::Relaxed);
        std::mem::replace(&mut self.what.lock().unwrap_or_else(PoisonError::into_inner), what)
    }
}

/// Checks in a loop. Never returns. These checks have a time limit, which is the store's, and are apart from those that requests
/// share: however many requests ask whether the service is ready, this replica notices in time that it must not write.
pub(super) async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(CHECK_PERIOD).await;
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
    // Other errors may pass. Commits handle them.
    if !error.is_lasting() {
        return;
    }
    let what = Unavailable::from(error);
    if shared.write_refusal.set(Some(what)) != Some(what) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "this replica refuses all writes from now on"
        );
        shared.broadcast(|| Message::Evict { draining: None });
    }
}
