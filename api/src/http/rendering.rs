//! Renders the metrics once for all concurrent requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// The pause after a rendering, as a multiple of its duration: a flood of requests takes a tenth of a processor's time.
const PAUSE: u32 = 9;
/// The longest duration that counts: a longer rendering was kept from its processor.
const LONGEST: Duration = Duration::from_millis(100);

/// Renders the metrics once for all concurrent requests. Rendering is slow, and anybody may ask for it.
pub(crate) struct Rendering {
    render: Arc<dyn Fn() -> String + Send + Sync>,
    /// The number of renderings that have begun.
    begun: AtomicU64,
    last: Mutex<Rendered>,
}

/// The last complete rendering.
struct Rendered {
    /// The number of the rendering, from 1.
    number: u64,
    text: Bytes,
    /// The earliest start of the next rendering.
    next: Instant,
}

impl Rendering {
    /// Renders by this function.
    pub(crate) fn new(render: Arc<dyn Fn() -> String + Send + Sync>) -> Self {
        let last = Rendered { number: 0, text: Bytes::new(), next: Instant::now() };
        Self { render, begun: AtomicU64::new(0), last: Mutex::new(last) }
    }

    /// The metrics as of now or a little later, never from before the call.
    pub(crate) async fn text(&self) -> Bytes {
        let before = self.begun.load(Ordering::Relaxed);
        let mut last = self.last.lock().await;
        if last.number <= before {
            sleep_until(last.next).await;
            last.number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
            let began = Instant::now();
            last.text = (self.render)().into();
            last.next = Instant::now() + began.elapsed().min(LONGEST) * PAUSE;
        }
        last.text.clone()
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(rendering.text().await, "1");
        let all = futures_util::future::join_all((0..1_000).map(|_| rendering.text())).await;
        assert!(all.iter().all(|text| text != "1"), "nobody gets what was rendered before");
        let count = count.load(Ordering::Relaxed);
        assert!(count <= 4, "{count}");
    }
}
