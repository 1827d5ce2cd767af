//! Timers: events that are due at a certain time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, btree_map::BTreeMap},
};

use tokio::time::Instant;

/// Events, each with the time at which it is due.
#[derive(Debug)]
pub(super) struct Timers<T> {
    /// The times of the events with their numbers. Entries of removed events are skipped.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The events by their numbers.
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
    /// Adds an event. Returns the number by which it can be stopped.
    pub(super) fn set(&mut self, at: Instant, event: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.due.push(Reverse((at, number)));
        self.events.insert(number, event);
        number
    }

    /// Removes an event. Does nothing if the event was due already.
    pub(super) fn stop(&mut self, number: u64) {
        self.events.remove(&number);
        if self.due.len() > 64 && self.due.len() > self.events.len() * 4 {
            self.due.retain(|Reverse((_, number))| self.events.contains_key(number));
        }
    }

    /// Removes the events for which `keep` returns false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.events.retain(|_, event| keep(event));
    }

    /// Removes all events, in the order in which they were added.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> {
        self.due.clear();
        std::mem::take(&mut self.events).into_values()
    }

    /// The time of the next event. It may belong to a removed event: waking up for nothing is harmless.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes and returns the earliest event that is due.
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
    fn events_are_due_in_the_order_of_their_times_unless_they_were_stopped() {
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
