//! Turns of connections that begin.

use std::{future::poll_fn, pin::pin, sync::atomic::Ordering, task::ready};

use super::{Turns, Work, line::IN_A_ROW, queue::Permit};
use crate::http::connection::Party;

/// The requests that take as long as the beginning of a connection without TLS.
pub(in crate::http::server) const PLAIN_START: usize = 1;
/// The requests that take as long as a step of a TLS handshake. After each step everything else is polled.
pub(in crate::http::server) const TLS_START: usize = IN_A_ROW;

impl Turns {
    /// Waits for the first turn of a connection that begins; `None` if its client is `gone` before.
    pub(in crate::http::server) async fn first(&self, party: Party, gone: impl Future) -> Option<Permit> {
        let place = (party, self.time.load(Ordering::Relaxed));
        let mut entering = None;
        tokio::select! {
            biased;
            turn = poll_fn(|cx| self.new.poll_enter(&mut entering, place, cx)) => Some(turn),
            _ = gone => None,
        }
    }

    /// Runs the beginning of a connection, whose `first` turn may have come already. It is polled in turns that take as long as this
    /// number of requests, or as their `work` if that is more. A turn is over when the client has to send something, so nobody waits for
    /// the network of another client.
    pub(in crate::http::server) async fn begin<F: Future>(
        &self,
        requests: usize,
        (party, work): (Party, &Work),
        mut first: Option<Permit>,
        beginning: F,
    ) -> F::Output {
        let mut beginning = pin!(beginning);
        let mut entering = None;
        let mut last = self.time.load(Ordering::Relaxed);
        poll_fn(|cx| {
            let mut turn = match first.take() {
                Some(first) => first,
                None => ready!(self.new.poll_enter(&mut entering, (party, last), cx)),
            };
            let polled = beginning.as_mut().poll(cx);
            turn.cost = requests.max(work.requests());
            self.new.answered(turn.cost, true);
            work.clear();
            drop(turn);
            // The next step goes behind the connections that wait now.
            last = self.time.fetch_add(1, Ordering::Relaxed) + 1;
            polled
        })
        .await
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{
        future::{pending, ready},
        sync::{Arc, atomic::AtomicUsize},
    };

    use futures_util::{FutureExt, future::join_all, task::noop_waker_ref};
    use tokio::task::yield_now;

    use super::*;

    const CONNECTIONS: usize = 4_000;
    const STEPS: usize = 3;

    /// Lets many connections begin at once. Returns the most steps that were done while another task waited.
    async fn most_steps(requests: usize) -> usize {
        let turns = Turns::new(1);
        let steps = Arc::new(AtomicUsize::new(0));
        let begin = |_| {
            let (turns, steps) = (turns.clone(), Arc::clone(&steps));
            tokio::spawn(async move {
                let step = async {
                    for _ in 0..STEPS {
                        steps.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                    }
                };
                turns.begin(requests, (Party::UNKNOWN, &Work::default()), None, step).await;
            })
        };
        let connections: Vec<_> = (0..CONNECTIONS).map(begin).collect();
        let mut most = 0;
        while steps.load(Ordering::Relaxed) < CONNECTIONS * STEPS {
            let before = steps.load(Ordering::Relaxed);
            yield_now().await;
            most = most.max(steps.load(Ordering::Relaxed) - before);
        }
        join_all(connections).await.into_iter().for_each(Result::unwrap);
        most
    }

    #[tokio::test]
    async fn another_task_of_a_single_thread_waits_for_a_few_beginnings_only() {
        assert!(most_steps(PLAIN_START).await <= 2 * IN_A_ROW);
        assert!(most_steps(TLS_START).await <= 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn another_task_of_a_pool_of_threads_waits_for_a_few_beginnings_only() {
        let most = tokio::spawn(async { (most_steps(PLAIN_START).await, most_steps(TLS_START).await) });
        let (plain, tls) = most.await.unwrap();
        assert!(plain <= 2 * IN_A_ROW && tls <= 2, "{plain} without TLS, {tls} with it");
    }

    #[tokio::test]
    async fn a_newcomer_from_an_address_of_a_tenant_does_not_wait_for_those_without_a_credential() {
        let turns = Turns::new(1);
        let steps = Arc::new(AtomicUsize::new(0));
        let begin = |party| {
            let (turns, steps) = (turns.clone(), Arc::clone(&steps));
            tokio::spawn(async move {
                let step = async {
                    yield_now().await;
                    steps.fetch_add(1, Ordering::Relaxed)
                };
                turns.begin(PLAIN_START, (party, &Work::default()), None, step).await
            })
        };
        let unknown: Vec<_> = (0..CONNECTIONS).map(|_| begin(Party::UNKNOWN)).collect();
        let of_tenant = begin(Party::for_test(1)).await.unwrap();
        assert!(of_tenant <= 2 * IN_A_ROW, "{of_tenant} were first");
        join_all(unknown).await.into_iter().for_each(|step| assert!(step.is_ok()));
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_keeps_no_turn() {
        let turns = Turns::new(1);
        let mut cx = std::task::Context::from_waker(noop_waker_ref());
        let work = Work::default();
        let mut silent = pin!(turns.begin(TLS_START, (Party::UNKNOWN, &work), None, pending::<()>()));
        assert!(silent.as_mut().poll(&mut cx).is_pending());
        turns.begin(TLS_START, (Party::UNKNOWN, &work), None, async {}).await;
    }

    #[tokio::test]
    async fn a_client_that_is_gone_waits_for_no_turn() {
        let turns = Turns::new(1);
        let taken = turns.first(Party::UNKNOWN, pending::<()>()).await.unwrap();
        let gone = turns.first(Party::UNKNOWN, ready(())).now_or_never();
        assert!(gone.expect("it waits for no turn").is_none());
        drop(taken);
        assert!(turns.first(Party::UNKNOWN, ready(())).await.is_some());
    }
}
