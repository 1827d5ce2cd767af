//! Work that everybody who asks for it at the same time shares.
//!
//! The future of a request is polled only in the turn of its connection, and its client may hang up at any time. So requests do
//! not do the work: each run is a task of its own, and they only wait for its result. A request that is not polled delays nobody,
//! and one that is dropped ends no statement that is under way.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{self, watch},
    time::{Instant, sleep_until},
};
use tracing::Instrument;

use crate::unavailable::Unavailable;

/// The pause after a run, as a multiple of its duration: a flood of requests takes a tenth of the time.
const PAUSE: u32 = 9;

type Run<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Receives the result of a run.
type Receiver<T> = watch::Receiver<Option<T>>;

/// Work with a result for everybody who asks before it begins. At most one run is under way at a time.
pub struct SingleFlight<T>(Arc<Flights<T>>);

struct Flights<T> {
    /// A run that takes longer than a tenth of it was kept from its processor, or waited for something.
    longest_pause: Duration,
    run: Box<dyn Fn() -> Run<T> + Send + Sync>,
    /// The run that was asked for and has not begun. Never locked across an await.
    next: Mutex<Option<Receiver<T>>>,
    /// The earliest start of the next run. Locked by the task of the run under way, never by those who ask.
    earliest: sync::Mutex<Instant>,
}

impl<T> Clone for SingleFlight<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// Shares this work, which must have a time limit: nobody ends a run. The pause after a run is at most `longest_pause`.
    pub fn new<F: Future<Output = T> + Send + 'static>(
        longest_pause: Duration,
        run: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Flights {
            longest_pause,
            run: Box::new(move || Box::pin(run())),
            next: Mutex::new(None),
            earliest: sync::Mutex::new(Instant::now()),
        }))
    }

    /// The result of a run that begins after this call.
    ///
    /// # Errors
    /// If the run panics.
    pub async fn result(&self) -> Result<T, Unavailable> {
        let mut receiver = self.next_run();
        let result = receiver.wait_for(Option::is_some).await;
        result.ok().and_then(|result| result.clone()).ok_or(Unavailable::Fault)
    }

    /// Joins the next run, and asks for it if nobody else has.
    fn next_run(&self) -> Receiver<T> {
        let mut next = self.0.next();
        next.get_or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            tokio::spawn(Arc::clone(&self.0).fly(sender).in_current_span());
            receiver
        })
        .clone()
    }
}

impl<T> Flights<T> {
    fn next(&self) -> std::sync::MutexGuard<'_, Option<Receiver<T>>> {
        // A panic elsewhere leaves nothing half done: the value is replaced at once.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs once, after the run under way and a pause.
    async fn fly(self: Arc<Self>, sender: watch::Sender<Option<T>>) {
        let mut earliest = self.earliest.lock().await;
        sleep_until(*earliest).await;
        // Who asks from now on needs a later run.
        *self.next() = None;
        let began = Instant::now();
        // Also if the run panics.
        *earliest = began + self.longest_pause;
        let result = (self.run)().await;
        *earliest = Instant::now() + self.longest_pause.min(began.elapsed() * PAUSE);
        sender.send_replace(Some(result));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{FutureExt, future::join_all};
    use tokio::time::{sleep, timeout};

    use super::*;

    const TAKES: Duration = Duration::from_millis(10);
    const LONGEST_PAUSE: Duration = Duration::from_millis(900);

    /// Work that counts its runs when they end, and fails if another one has ended meanwhile.
    fn counted(ended: &Arc<AtomicUsize>) -> SingleFlight<usize> {
        let ended = Arc::clone(ended);
        SingleFlight::new(LONGEST_PAUSE, move || {
            let ended = Arc::clone(&ended);
            async move {
                let before = ended.load(Ordering::Relaxed);
                sleep(TAKES).await;
                assert_eq!(ended.fetch_add(1, Ordering::Relaxed), before, "one run at a time");
                before + 1
            }
        })
    }

    /// Requests are polled only in the turns of their connections.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_not_polled_delays_no_other() {
        let flight = counted(&Arc::default());
        for round in 0..3 {
            let mut unpolled = Box::pin(flight.result());
            assert!(unpolled.as_mut().now_or_never().is_none());
            let other = timeout(Duration::from_secs(1), flight.result()).await;
            assert_eq!(other.expect("it does not wait for the other"), Ok(round + 1));
            assert_eq!(unpolled.await, Ok(round + 1), "both share a run");
        }
    }

    /// Otherwise a client could make the service distrust its connections to the database, by hanging up again and again.
    #[tokio::test(start_paused = true)]
    async fn a_run_ends_though_all_who_asked_have_hung_up() {
        let ended = Arc::default();
        let flight = counted(&ended);
        let mut request = Box::pin(flight.result());
        assert!(request.as_mut().now_or_never().is_none());
        sleep(TAKES / 2).await;
        drop(request);
        sleep(TAKES).await;
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_during_a_run_share_the_next_one() {
        let flight = counted(&Arc::default());
        let mut early = Box::pin(flight.result());
        assert!(early.as_mut().now_or_never().is_none());
        sleep(TAKES / 2).await;
        let late = join_all((0..1_000).map(|_| flight.result())).await;
        assert_eq!(early.await, Ok(1));
        assert!(late.iter().all(|result| *result == Ok(2)), "nobody gets the result of a run that had begun");
    }

    #[tokio::test(start_paused = true)]
    async fn runs_take_a_tenth_of_the_time_and_a_long_one_does_not_delay_the_next_for_long() {
        let ended = Arc::default();
        let flight = counted(&ended);
        let flood = async {
            loop {
                let _ = flight.result().await;
            }
        };
        let _ = timeout(TAKES * 1_000, flood).await;
        let ended = ended.load(Ordering::Relaxed);
        assert!((90..=101).contains(&ended), "{ended}");

        let slow = SingleFlight::new(LONGEST_PAUSE, || sleep(Duration::from_mins(1)));
        assert_eq!(slow.result().await, Ok(()));
        let began = Instant::now();
        assert_eq!(slow.result().await, Ok(()));
        assert!(began.elapsed() <= Duration::from_secs(61), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_fails_those_who_wait_and_nobody_later() {
        let runs = AtomicUsize::new(0);
        let flight = SingleFlight::new(LONGEST_PAUSE, move || {
            let first = runs.fetch_add(1, Ordering::Relaxed) == 0;
            async move { assert!(!first, "an error in this program") }
        });
        assert_eq!(flight.result().await, Err(Unavailable::Fault));
        assert_eq!(flight.result().await, Ok(()));
    }
}
