//! Whether the service can do its work: one check for all who ask at the same time.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{engine::Engine, single_flight::SingleFlight, store::Store, unavailable::Unavailable};

/// The longest wait for an answer. The store gives up a check after 5 s, and an earlier one may be under way.
const MOST_WAIT: Duration = Duration::from_secs(7);

/// The longest pause between two checks. A check waits for the database and takes hardly any time of the processor, and a probe may wait for 1 s only.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Checks that the database accepts writes of this service. Anybody may ask for that, so a flood causes one check at a time, with
/// pauses, and no request has a connection to the database.
#[derive(Clone)]
pub(super) struct Readiness(SingleFlight<Result<(), Unavailable>>);

impl Readiness {
    pub(super) fn new(engine: Arc<Engine>, store: Arc<dyn Store>) -> Self {
        Self(SingleFlight::new(LONGEST_PAUSE, move || check(Arc::clone(&engine), Arc::clone(&store))))
    }

    /// The result of a check that begins after this call.
    pub(super) async fn check(&self) -> Result<(), Unavailable> {
        timeout(MOST_WAIT, self.0.result()).await.map_err(|_| Unavailable::Overloaded)??
    }
}

async fn check(engine: Arc<Engine>, store: Arc<dyn Store>) -> Result<(), Unavailable> {
    if let Err(error) = store.check_ready().await {
        // The log has the cause, once a second.
        engine.report_outage(&error);
        return Err((&error).into());
    }
    // The cause of refused writes may be over, but writes are refused until the engine notices that.
    engine.check_writes()?;
    engine.report_recovery();
    Ok(())
}
