//! Lets concurrent questions whether the database is ready share an answer.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{StoreError, classify::overloaded};

/// How long a caller waits for the callers before it.
const WAIT: Duration = Duration::from_secs(2);

/// The last answer, and when its question was asked. One caller at a time asks the database, and the answer serves all callers
/// that began to wait before it was asked.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Result<(), StoreError>)>>);

impl Readiness {
    /// Asks, unless somebody else has asked since this call began.
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
