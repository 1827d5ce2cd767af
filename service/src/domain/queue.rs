//! A view of the waiters of a key, in the order in which they came.

use std::collections::VecDeque;

use super::{Owner, ReplicaId, RequestId, Timestamp, Version, WaiterData};

/// The place of a waiter: with or without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A connection of a replica waits.
    Attached {
        /// The replica whose connection waits.
        replica: ReplicaId,
        /// The id of the request.
        request_id: RequestId,
        /// The end of an offer: until then a free place is kept for the waiter, and its replica has to claim it.
        offered_until: Option<Timestamp>,
    },
    /// The connection is gone. The waiter keeps its place for a while, and others are served before it.
    Detached {
        /// When the waiter loses its place.
        until: Timestamp,
    },
}

/// The future holder of a grant: a new acquire or a waiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FutureHolder {
    /// The version of the future grant.
    pub version: Version,
    /// Whether the caller chose the version, and so can repeat its request.
    pub chosen: bool,
    /// The owner of the future grant.
    pub owner: Owner,
    /// The lease of the future grant, in milliseconds.
    pub lease_ms: i64,
    /// Whether the data of the future grant replaces the data of a mutex.
    pub replace_data: bool,
    /// Whether the mutex is deleted when the future grant ends.
    pub delete_on_release: bool,
}

/// A waiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The number that orders the queue; it only grows within a key.
    pub seq: i64,
    /// What the waiter is to be granted.
    pub holder: FutureHolder,
    /// The data to store with the grant.
    pub data: WaiterData,
    /// The place of the waiter.
    pub place: Place,
}

/// The location of a waiter that was found by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundWaiter {
    /// The index in the known front of the queue.
    Head(usize),
    /// The index in the waiters behind the front that were loaded by version.
    Named(usize),
}

/// A view of a key's queue: its length, its front, and waiters that were loaded by version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queue {
    /// The number of waiters, known or not.
    pub len: i64,
    /// The `seq` of the next waiter.
    pub next_seq: i64,
    /// The front of the queue without gaps.
    pub head: VecDeque<Waiter>,
    /// Waiters behind the front that were loaded by version. Each has the number of waiters before it, if that was
    /// asked for: for this the whole queue has to be counted.
    pub named: Vec<(Waiter, Option<i64>)>,
    /// Versions that were looked up. A version that is not in this view does not wait.
    pub asked: Vec<Version>,
}

impl Queue {
    /// Whether all waiters are known.
    pub fn is_complete(&self) -> bool {
        i64::try_from(self.head.len()).is_ok_and(|known| known == self.len)
    }

    /// Finds a waiter by version; `Err` if the view does not show that.
    pub fn find(&self, version: Version) -> Result<Option<FoundWaiter>, Version> {
        if let Some(index) = self.head.iter().position(|waiter| waiter.holder.version == version) {
            return Ok(Some(FoundWaiter::Head(index)));
        }
        if let Some(index) = self.named.iter().position(|(waiter, _)| waiter.holder.version == version) {
            return Ok(Some(FoundWaiter::Named(index)));
        }
        if self.is_complete() || self.asked.contains(&version) { Ok(None) } else { Err(version) }
    }

    /// The waiter at this location.
    pub fn get(&self, found: FoundWaiter) -> &Waiter {
        match found {
            FoundWaiter::Head(index) => &self.head[index],
            FoundWaiter::Named(index) => &self.named[index].0,
        }
    }

    /// The waiter at this location, to change its place.
    pub fn get_mut(&mut self, found: FoundWaiter) -> &mut Waiter {
        match found {
            FoundWaiter::Head(index) => &mut self.head[index],
            FoundWaiter::Named(index) => &mut self.named[index].0,
        }
    }

    /// Its position in the queue, from 1; `None` if the view does not show it.
    pub fn position(&self, found: FoundWaiter) -> Option<i64> {
        let before = match found {
            FoundWaiter::Head(index) => i64::try_from(index).ok(),
            FoundWaiter::Named(index) => self.named[index].1,
        };
        before.map(|before| before.saturating_add(1))
    }

    /// Removes a waiter, if it is still there.
    pub fn remove(&mut self, found: FoundWaiter) -> Option<Waiter> {
        let waiter = match found {
            FoundWaiter::Head(index) => self.head.remove(index)?,
            FoundWaiter::Named(index) => self.named.swap_remove(index).0,
        };
        self.len -= 1;
        for (other, before) in &mut self.named {
            if other.seq > waiter.seq {
                *before = before.map(|before| before - 1);
            }
        }
        Some(waiter)
    }

    /// Adds a waiter at the end. Returns the number of waiters before it.
    pub fn push(&mut self, waiter: Waiter) -> i64 {
        let before = self.len;
        if self.is_complete() {
            self.head.push_back(waiter);
        } else {
            self.named.push((waiter, Some(before)));
        }
        self.len += 1;
        self.next_seq += 1;
        before
    }

    /// Drops the data that stores do not read: that of waiters who were not asked for.
    #[cfg(test)]
    pub(crate) fn leave_data_unread(&mut self, asked: &[Version]) {
        let named = self.named.iter_mut().map(|(waiter, _)| (waiter, false));
        for (waiter, is_front) in self.head.iter_mut().map(|waiter| (waiter, true)).chain(named) {
            if !is_front || !asked.contains(&waiter.holder.version) {
                waiter.data.forget();
            }
        }
    }

    /// Drops the parts that only one decision needed, and the front beyond `longest_front`.
    pub fn trim(&mut self, longest_front: usize) {
        self.named = Vec::new();
        self.asked = Vec::new();
        self.head.truncate(longest_front);
    }

    /// Keeps the data of the first waiters, up to this number of bytes in all.
    pub fn trim_data(&mut self, most_bytes: usize) {
        let mut bytes = 0;
        for waiter in &mut self.head {
            bytes += waiter.data.read_bytes();
            if bytes > most_bytes {
                waiter.data.forget();
            }
        }
    }
}
