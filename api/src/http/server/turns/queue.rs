//! A queue for turns. Parties, such as tenants, have equal shares of the time if they need it.
//!
//! Each party has an account of the time that its turns took while somebody waited (start-time fair queueing). The next turn is for the
//! party with the least on its account, so a tenant with a heartbeat now and then does not wait for one that sends all that it can. Of
//! the party's connections it is for the one whose last request or turn is the longest ago.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::parties::Parties;
use crate::http::connection::Party;

/// A queue for turns.
#[derive(Debug)]
pub(super) struct Queue {
    /// The number of turns that nobody has. It is 0 if connections wait, and changes only under the lock.
    free: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    parties: Parties<BTreeMap<Place, Waker>>,
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

    /// A free turn.
    pub(super) fn try_turn(self: &Arc<Self>, party: Party) -> Option<Permit> {
        self.take(&self.lock()).then(|| self.permit(party))
    }

    /// Waits for a turn. `last` is the time of the connection's last request or turn.
    pub(super) async fn turn(self: Arc<Self>, party: Party, last: u64) -> Permit {
        let mut visitor = Visitor { queue: &self, party, place: None };
        poll_fn(|cx| visitor.poll(cx, last)).await
    }

    fn permit(self: &Arc<Self>, party: Party) -> Permit {
        Permit { queue: Arc::clone(self), party, cost: 1 }
    }

    /// Takes a free turn.
    fn take(&self, _lock: &MutexGuard<'_, Waiting>) -> bool {
        let free = self.free.load(Ordering::Relaxed);
        self.free.store(free.saturating_sub(1), Ordering::Relaxed);
        free > 0
    }

    /// Ends a turn of a party that took as long as this number of requests.
    fn give_back(&self, party: Party, cost: usize) {
        let mut waiting = self.lock();
        waiting.parties.charge(party, cost as u64);
        if let Some((place, waker)) =
            waiting.parties.next(|connections| (connections.pop_first(), connections.is_empty()))
        {
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
pub(in crate::http::server) struct Permit {
    queue: Arc<Queue>,
    party: Party,
    /// The number of requests that take as long as the turn.
    pub(super) cost: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queue.give_back(self.party, self.cost);
    }
}

/// A connection in the queue. It leaves the queue on drop.
struct Visitor<'q> {
    queue: &'q Arc<Queue>,
    party: Party,
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
            return Poll::Ready(self.queue.permit(self.party));
        }
        let place = self.place.unwrap_or_else(|| {
            waiting.arrivals += 1;
            (last, waiting.arrivals)
        });
        self.place = Some(place);
        waiting.parties.work_mut(self.party).insert(place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut waiting = self.queue.lock();
        waiting.parties.take(self.party, |connections| (connections.remove(&place), connections.is_empty()));
        let had_turn = waiting.called.remove(&place);
        drop(waiting);
        if had_turn {
            self.queue.give_back(self.party, 0);
        }
    }
}
