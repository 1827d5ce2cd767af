//! A line in which connections wait for their turns.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    thread::LocalKey,
};

use tokio::{runtime::Handle, task::yield_now};

use super::queue::{Permit, Queue};
use crate::http::connection::Party;

/// The number of requests after which a thread polls everything else, if connections wait in the line. About a millisecond.
pub(super) const IN_A_ROW: usize = 64;
/// The number of requests after which connections have to wait in the line, if the thread has not polled everything else meanwhile. This
/// is more than 128 connections need that send one request after the other.
pub(super) const SHORT: usize = 512;

/// The bound of the number of yields until everything else has been polled. Other threads may add tasks all the time.
const MOST_YIELDS: u32 = 32;

/// The number of requests of a line since a thread has polled everything else. Another thread may poll the task that resets it.
type Answered = LocalKey<Arc<AtomicUsize>>;

/// Waits for a turn, and leaves the line on drop.
pub(super) type Entering = Pin<Box<dyn Future<Output = Permit> + Send>>;

thread_local! {
    static OF_FEW: Arc<AtomicUsize> = Arc::default();
    static OF_BUSY: Arc<AtomicUsize> = Arc::default();
    static OF_NEW: Arc<AtomicUsize> = Arc::default();
}

/// The line of all connections of a kind.
#[derive(Debug, Clone)]
pub(super) struct Line {
    queue: Arc<Queue>,
    answered: &'static Answered,
}

impl Line {
    /// The line of connections with few requests at once.
    pub(super) fn of_few(threads: usize) -> Self {
        Self::new(threads, &OF_FEW)
    }

    /// The line of busy connections.
    pub(super) fn of_busy(threads: usize) -> Self {
        Self::new(threads, &OF_BUSY)
    }

    /// The line of connections that begin. Half of the threads are left to the other connections: a TLS handshake takes as long as many
    /// requests, and cannot be interrupted.
    pub(super) fn of_new(threads: usize) -> Self {
        Self::new(threads / 2, &OF_NEW)
    }

    fn new(threads: usize, answered: &'static Answered) -> Self {
        Self { queue: Arc::new(Queue::new(threads.max(1))), answered }
    }

    /// Whether nobody waits in the line, and nobody has to.
    pub(super) fn is_short(&self) -> bool {
        get(self.answered) < SHORT && self.queue.is_free()
    }

    /// Ready with a turn. `entering` is the place in the line while it is not, which depends on the party and the time of the
    /// connection's last request or turn.
    pub(super) fn poll_enter(
        &self,
        entering: &mut Option<Entering>,
        place: (Party, u64),
        cx: &mut Context<'_>,
    ) -> Poll<Permit> {
        if entering.is_none()
            && let Some(permit) = self.try_enter(place.0)
        {
            return Poll::Ready(permit);
        }
        let waiting = entering.get_or_insert_with(|| Box::pin(self.enter(place)));
        let permit = ready!(waiting.as_mut().poll(cx));
        *entering = None;
        Poll::Ready(permit)
    }

    /// A turn without waiting.
    fn try_enter(&self, party: Party) -> Option<Permit> {
        if get(self.answered) >= IN_A_ROW { None } else { self.queue.try_turn(party) }
    }

    /// Waits for a turn of a party, in a connection whose last request or turn was at the time `last`.
    pub(super) fn enter(&self, (party, last): (Party, u64)) -> impl Future<Output = Permit> + Send + use<> {
        let Self { queue, answered } = self.clone();
        async move {
            let permit = queue.turn(party, last).await;
            if get(answered) >= IN_A_ROW {
                poll_everything_else().await;
                answered.with(|answered| answered.store(0, Ordering::Relaxed));
            }
            permit
        }
    }

    /// Notes the number of requests of a connection, which had a turn or did not need one.
    pub(super) fn answered(&self, requests: usize, had_turn: bool) {
        self.answered.with(|answered| {
            let before = answered.load(Ordering::Relaxed);
            let now = before + requests;
            answered.store(now, Ordering::Relaxed);
            if !had_turn && before / IN_A_ROW != now / IN_A_ROW {
                let answered = Arc::clone(answered);
                tokio::spawn(async move {
                    poll_everything_else().await;
                    answered.store(0, Ordering::Relaxed);
                });
            }
        });
    }
}

/// Returns when the runtime has polled all tasks that were ready, or many of them, after a look at all sockets.
///
/// The runtime's queue of a thread has few places. If many sockets become ready at once, most of their tasks wait in a second queue, from
/// which the runtime takes one now and then as long as the first queue has any.
pub(in crate::http::server) async fn poll_everything_else() {
    let metrics = Handle::current().metrics();
    for _ in 0..MOST_YIELDS {
        yield_now().await;
        if metrics.global_queue_depth() == 0 {
            break;
        }
    }
}

fn get(answered: &'static Answered) -> usize {
    answered.with(|answered| answered.load(Ordering::Relaxed))
}
