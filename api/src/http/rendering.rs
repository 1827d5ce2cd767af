//! Renders the metrics once for all concurrent requests.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use db_locks_service::{SingleFlight, Unavailable};

/// The longest pause between two renderings, each of which takes time of the processor.
const LONGEST_PAUSE: Duration = Duration::from_millis(900);

/// Renders the metrics once for all concurrent requests. Rendering is slow, and anybody may ask for it.
pub(crate) struct Rendering(SingleFlight<Bytes>);

impl Rendering {
    /// Renders by this function.
    pub(crate) fn new(render: Arc<dyn Fn() -> String + Send + Sync>) -> Self {
        Self(SingleFlight::new(LONGEST_PAUSE, move || {
            let render = Arc::clone(&render);
            async move { render().into() }
        }))
    }

    /// The metrics as of now or a little later, never from before the call.
    ///
    /// # Errors
    /// If the function panics.
    pub(crate) async fn text(&self) -> Result<Bytes, Unavailable> {
        self.0.result().await
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt;

    use super::*;

    /// Otherwise a flood without a credential would delay heartbeats: one HTTP/2 connection can send a thousand requests at once.
    #[tokio::test]
    async fn a_thousand_who_ask_at_once_are_answered_by_few_renderings() {
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        let rendering = Rendering::new(Arc::new(move || {
            // It blocks its thread for this long.
            std::thread::sleep(Duration::from_millis(10));
            (counted.fetch_add(1, Ordering::Relaxed) + 1).to_string()
        }));
        assert_eq!(rendering.text().await.unwrap(), "1");
        let all = futures_util::future::join_all((0..1_000).map(|_| rendering.text())).await;
        assert!(all.iter().all(|text| text.as_ref().unwrap() != "1"), "nobody gets what was rendered before");
        let count = count.load(Ordering::Relaxed);
        assert!(count <= 4, "{count}");
    }

    /// A flood's connections wait for their turns, each with a request for metrics. Prometheus does not wait for them.
    #[tokio::test]
    async fn requests_of_connections_that_wait_for_their_turn_delay_no_other() {
        let rendering = Rendering::new(Arc::new(|| {
            std::thread::sleep(Duration::from_millis(5));
            "text".to_owned()
        }));
        rendering.text().await.unwrap();
        let mut unpolled: Vec<_> = (0..100).map(|_| Box::pin(rendering.text())).collect();
        for request in &mut unpolled {
            assert!(request.as_mut().now_or_never().is_none());
        }
        let text = tokio::time::timeout(Duration::from_secs(10), rendering.text()).await;
        assert_eq!(text.expect("it does not wait for the others").unwrap(), "text");
    }
}
