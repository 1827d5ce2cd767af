//! What a shard has to do later.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, btree_map::BTreeMap},
};

use tokio::time::Instant;

/// Things to do, each at its time, the earliest first.
#[derive(Debug)]
pub(super) struct Timers<T> {
    /// When what of `tasks` is due; entries of tasks that are gone are skipped.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// What to do, by a number that grows.
    events: BTreeMap<u64, T>,
    /// The next number.
    next: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { due: BinaryHeap::new(), events: BTreeMap::new(), next: 0 }
    }
}

impl<T> Timers<T> {
    /// Sets a timer, and answers the number by which it can be stopped.
    pub(super) fn set(&mut self, at: Instant, event: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.due.push(Reverse((at, number)));
        self.events.insert(number, event);
        number
    }

    /// Stops a timer; one that went off already is none.
    pub(super) fn stop(&mut self, number: u64) {
        self.events.remove(&number);
        if self.due.len() > 64 && self.due.len() > self.events.len() * 4 {
            self.due.retain(|Reverse((_, number))| self.events.contains_key(number));
        }
    }

    /// Keeps the tasks that `keep` wants kept, and stops the others.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.events.retain(|_, event| keep(event));
    }

    /// When the next one goes off. A stopped one may still be named: waking for nothing is harmless.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// One that is due, if there is one.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<T> {
        while let Some(&Reverse((at, number))) = self.due.peek() {
            if at > now {
                return None;
            }
            self.due.pop();
            if let Some(event) = self.events.remove(&number) {
                return Some(event);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_go_off_in_the_order_of_their_times_and_not_when_stopped() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(at(20), "second");
        let stopped = timers.set(at(5), "stopped");
        timers.set(at(10), "first");
        timers.stop(stopped);
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(30)), Some("first"));
        assert_eq!(timers.pop_due(at(30)), Some("second"));
        assert_eq!(timers.pop_due(at(30)), None);
    }
}
