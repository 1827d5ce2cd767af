//! A queue for turns, in which the connection whose last request or turn is the longest ago is the first.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// A queue for turns.
#[derive(Debug)]
pub(super) struct Queue {
    /// The number of turns that nobody has. It is 0 if connections wait, and changes only under the lock.
    free: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    connections: BTreeMap<Place, Waker>,
    /// The places of connections that have a turn and were not polled since.
    called: BTreeSet<Place>,
    arrivals: u64,
}

/// The time of a connection's last request or turn, and the number of its arrival.
type Place = (u64, u64);

impl Queue {
    /// A queue for this number of turns at a time.
    pub(super) fn new(turns: usize) -> Self {
        Self { free: AtomicUsize::new(turns), waiting: Mutex::default() }
    }

    /// Whether a turn is free, so that nobody waits.
    pub(super) fn is_free(&self) -> bool {
        self.free.load(Ordering::Relaxed) > 0
    }

    /// The number of connections that wait.
    pub(super) fn waiting(&self) -> usize {
        if self.is_free() { 0 } else { self.lock().connections.len() }
    }

    /// A free turn.
    pub(super) fn try_turn(self: &Arc<Self>) -> Option<Permit> {
        self.take(&self.lock()).then(|| Permit(Arc::clone(self)))
    }

    /// Waits for a turn. `last` is the time of the connection's last request or turn.
    pub(super) async fn turn(self: Arc<Self>, last: u64) -> Permit {
        let mut visitor = Visitor { queue: &self, place: None };
        poll_fn(|cx| visitor.poll(cx, last)).await
    }

    /// Takes a free turn.
    fn take(&self, _lock: &MutexGuard<'_, Waiting>) -> bool {
        let free = self.free.load(Ordering::Relaxed);
        self.free.store(free.saturating_sub(1), Ordering::Relaxed);
        free > 0
    }

    fn give_back(&self) {
        let mut waiting = self.lock();
        if let Some((place, waker)) = waiting.connections.pop_first() {
            waiting.called.insert(place);
            drop(waiting);
            waker.wake();
        } else {
            self.free.store(self.free.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Queue>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A connection in the queue. It leaves the queue on drop.
struct Visitor<'q> {
    queue: &'q Arc<Queue>,
    place: Option<Place>,
}

impl Visitor<'_> {
    fn poll(&mut self, cx: &Context<'_>, last: u64) -> Poll<Permit> {
        let mut waiting = self.queue.lock();
        let has_turn = match &self.place {
            Some(place) => waiting.called.remove(place),
            None => self.queue.take(&waiting),
        };
        if has_turn {
            self.place = None;
            return Poll::Ready(Permit(Arc::clone(self.queue)));
        }
        let place = self.place.unwrap_or_else(|| {
            waiting.arrivals += 1;
            (last, waiting.arrivals)
        });
        self.place = Some(place);
        waiting.connections.insert(place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut waiting = self.queue.lock();
        waiting.connections.remove(&place);
        let had_turn = waiting.called.remove(&place);
        drop(waiting);
        if had_turn {
            self.queue.give_back();
        }
    }
}
