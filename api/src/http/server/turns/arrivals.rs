//! The line of accepted connections that are not served yet.
//!
//! A thread accepts connections while the others are busy with requests, and adds them here. They are taken out on the runtime's threads,
//! between other tasks. If many wait, parties have equal shares, as in [`super::queue`].

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::parties::Parties;
use crate::http::connection::Party;

/// Those who have arrived, and wait.
#[derive(Debug)]
pub(in crate::http::server) struct Arrivals<T> {
    waiting: Mutex<Waiting<T>>,
    /// The number of those who wait from which on parties with their share of it are refused.
    most: usize,
    arrived: Notify,
}

#[derive(Debug)]
struct Waiting<T> {
    parties: Parties<Queue<T>>,
    len: usize,
}

/// Those of one party.
#[derive(Debug)]
struct Queue<T>(VecDeque<(Party, T)>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Arrivals<T> {
    /// An empty line, in which about `most` may wait.
    pub(in crate::http::server) fn new(most: usize) -> Self {
        let waiting = Waiting { parties: Parties::default(), len: 0 };
        Self { waiting: Mutex::new(waiting), most, arrived: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether too many wait, and the party has its share of them: at least as many as parties have on average.
    pub(in crate::http::server) fn is_full_for(&self, party: Party) -> bool {
        let waiting = self.waiting();
        let Waiting { parties, len } = &*waiting;
        let of_party = parties.work(party).map_or(0, |Queue(queue)| queue.len());
        *len >= self.most && of_party * parties.with_work() >= *len
    }

    /// Adds one of a party.
    pub(in crate::http::server) fn push(&self, party: Party, arrival: T) {
        let mut waiting = self.waiting();
        let Waiting { parties, len } = &mut *waiting;
        parties.work_mut(party).0.push_back((party, arrival));
        *len += 1;
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits for the next one. Only one task may wait.
    pub(in crate::http::server) async fn next(&self) -> T {
        loop {
            if let Some(next) = self.pop() {
                return next;
            }
            self.arrived.notified().await;
        }
    }

    fn pop(&self) -> Option<T> {
        let mut waiting = self.waiting();
        let Waiting { parties, len } = &mut *waiting;
        let (party, next) = parties.next(|Queue(queue)| (queue.pop_front(), queue.is_empty()))?;
        parties.charge(party, 1);
        *len -= 1;
        Some(next)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MOST: usize = 100;
    const TENANT: Party = Party::for_test(1);
    const FLOOD: Party = Party::unknown_for_test(1);

    #[tokio::test]
    async fn those_of_a_tenant_do_not_wait_for_a_flood_and_arrivals_of_a_party_keep_their_order() {
        let arrivals = Arrivals::new(MOST);
        for number in 0..50 {
            arrivals.push(Party::unknown_for_test(number % 10), 100 + number);
        }
        arrivals.push(TENANT, 1);
        arrivals.push(TENANT, 2);
        let order: Vec<_> = (0..52).filter_map(|_| arrivals.pop()).collect();
        let at = |name| order.iter().position(|other| *other == name).unwrap();
        // One of each other party may be before each of them.
        assert!(at(1) <= 10 && at(1) < at(2) && at(2) <= 12, "{order:?}");
        assert!(at(100) < at(110) && at(110) < at(120));
        assert!(arrivals.next().now_or_never().is_none());
    }

    #[test]
    fn a_full_line_refuses_those_who_fill_it_and_no_others() {
        let arrivals = Arrivals::new(MOST);
        for _ in 0..MOST {
            assert!(!arrivals.is_full_for(FLOOD));
            arrivals.push(FLOOD, ());
        }
        for party in [TENANT, Party::unknown_for_test(2)] {
            assert!(arrivals.is_full_for(FLOOD) && !arrivals.is_full_for(party));
            arrivals.push(party, ());
        }
    }

    /// Guards against a party without arrivals in the order: nobody behind it would be next.
    #[test]
    fn whoever_is_asked_about_and_not_added_keeps_no_others_waiting() {
        let arrivals = Arrivals::new(1);
        arrivals.push(TENANT, 1);
        assert!(!arrivals.is_full_for(FLOOD));
        assert_eq!(arrivals.pop(), Some(1));
    }

    #[tokio::test]
    async fn whoever_arrives_later_is_noticed() {
        let arrivals = Arrivals::new(MOST);
        let ((), next) = tokio::join!(async { arrivals.push(TENANT, 7) }, arrivals.next());
        assert_eq!(next, 7);
        let mut next = Box::pin(arrivals.next());
        assert!(next.as_mut().now_or_never().is_none());
        arrivals.push(TENANT, 8);
        assert_eq!(next.await, 8);
    }
}
