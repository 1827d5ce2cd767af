//! Work of requests, in tasks of their own.
//!
//! The future of a request is polled only in the turns of its connection, and is dropped if the client hangs up. So it must not hold
//! what others wait for: a lock, a turn, or a connection to the database. Nor may it have a statement under way: a statement that is
//! dropped counts as one that the database does not answer, and then no connection is trusted.

use std::{future::pending, panic::resume_unwind};

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{audit::Origin, unavailable::Unavailable};

/// The caller of work that is done apart. If it gives up, the work ends where it says so, and nowhere else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// Cancelled when the caller has given up.
    gone: CancellationToken,
    /// Cancelled when the work ends for that reason.
    ended: CancellationToken,
}

impl Caller {
    /// Ends the work here if the caller has given up.
    pub(crate) async fn end_if_gone(&self) {
        if self.gone.is_cancelled() {
            self.end::<()>().await;
        }
    }

    /// Waits for something that may be dropped at any time. The work ends here if the caller gives up meanwhile.
    pub(crate) async fn unless_gone<T>(&self, wait: impl Future<Output = T>) -> T {
        match self.gone.run_until_cancelled(wait).await {
            Some(value) => value,
            None => self.end().await,
        }
    }

    /// Never returns: the task drops the work.
    async fn end<T>(&self) -> T {
        self.ended.cancel();
        pending().await
    }
}

/// Does work in a task of its own, and waits for it. The work has the span and the origin of this task.
///
/// # Errors
/// If the runtime ends.
pub(crate) async fn run_apart<T, W>(work: impl FnOnce(Caller) -> W) -> Result<T, Unavailable>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let caller = Caller::default();
    let _gone = caller.gone.clone().drop_guard();
    let ended = caller.ended.clone();
    let work = Origin::carry(work(caller));
    let task = async move { ended.run_until_cancelled(work).await };
    match tokio::spawn(task.in_current_span()).await {
        Ok(done) => done.ok_or(Unavailable::ShuttingDown),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(Unavailable::ShuttingDown),
        },
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// Work that sends a number after each of its steps. Each needs a permit.
    fn steps(
        permits: &Arc<Semaphore>,
    ) -> (impl Future<Output = Result<(), Unavailable>> + use<>, mpsc::UnboundedReceiver<u8>) {
        let (permits, (sender, done)) = (Arc::clone(permits), mpsc::unbounded_channel());
        let work = run_apart(move |caller| async move {
            for step in 1..=3 {
                permits.acquire().await.unwrap().forget();
                sender.send(step).unwrap();
                caller.end_if_gone().await;
            }
            caller.unless_gone(pending::<()>()).await;
        });
        (work, done)
    }

    #[tokio::test]
    async fn work_whose_caller_has_gone_ends_where_it_says_so() {
        let permits = Arc::new(Semaphore::new(1));
        let (work, mut done) = steps(&permits);
        let mut work = Box::pin(work);
        assert!(work.as_mut().now_or_never().is_none());
        assert_eq!(done.recv().await, Some(1), "it goes on without being polled");
        drop(work);
        permits.add_permits(9);
        assert_eq!(
            (done.recv().await, done.recv().await),
            (Some(2), None),
            "it ends after the step under way"
        );
    }

    #[tokio::test]
    async fn work_that_waits_for_its_turn_ends_at_once_if_its_caller_goes() {
        let permits = Arc::new(Semaphore::new(3));
        let (work, mut done) = steps(&permits);
        let mut work = Box::pin(work);
        assert!(work.as_mut().now_or_never().is_none());
        for step in 1..=3 {
            assert_eq!(done.recv().await, Some(step));
        }
        drop(work);
        assert_eq!(done.recv().await, None);
    }

    #[tokio::test]
    async fn work_acts_for_the_origin_of_its_caller() {
        let origin = Arc::new(Origin::new([192, 0, 2, 1].into(), "id".into()));
        let mut work = Box::pin(run_apart(|_| async { Origin::current() }));
        assert!(origin.enter(|| work.as_mut().now_or_never()).is_none());
        assert_eq!(work.await, Ok(Some(origin)));
    }
}
