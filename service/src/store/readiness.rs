//! Lets concurrent checks of the database's readiness share an answer.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{StoreError, classify::overloaded};

/// How long a caller waits for earlier callers.
const WAIT: Duration = Duration::from_secs(2);

/// The last answer, and when its check began. One caller at a time asks the database. The answer serves all callers
/// that had begun to wait before the check began.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Result<(), StoreError>)>>);

impl Readiness {
    /// Asks the database, unless another caller has asked since this call began.
    pub(super) async fn ask(
        &self,
        ask: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let called = Instant::now();
        let mut last = timeout(WAIT, self.0.lock()).await.map_err(|_| overloaded())?;
        if let Some((asked, result)) = &*last
            && *asked >= called
        {
            return result.as_ref().copied().map_err(StoreError::repeated);
        }
        let asked = Instant::now();
        let result = ask.await;
        let repeated = result.as_ref().copied().map_err(StoreError::repeated);
        *last = Some((asked, repeated));
        result
    }
}
