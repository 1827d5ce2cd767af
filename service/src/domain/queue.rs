//! Those who wait for a key, in the order in which they came, as far as they are known.

use std::collections::VecDeque;

use super::{Data, Owner, ReplicaId, RequestId, Timestamp, Version};

/// Where a waiter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A connection waits for it at a replica.
    Attached {
        /// The replica whose connection waits.
        replica: ReplicaId,
        /// The request.
        request_id: RequestId,
        /// The place that became free is kept for it until then; its replica has to claim it.
        offered_until: Option<Timestamp>,
    },
    /// Its connection went away. It keeps its place until then, skipped meanwhile.
    Detached {
        /// When it loses its place.
        until: Timestamp,
    },
}

/// One who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The order in the queue; grows for ever within a key.
    pub seq: i64,
    /// The version of the grant-to-be.
    pub version: Version,
    /// Whether the caller chose the version, and so can come back with it.
    pub chosen: bool,
    /// The owner of the grant-to-be.
    pub owner: Owner,
    /// The lease of the grant-to-be, in milliseconds.
    pub lease_ms: i64,
    /// The data to store.
    pub data: Option<Data>,
    /// Whether `data` takes the place of what a mutex has.
    pub replace_data: bool,
    /// The grant-to-be takes the mutex's row with it.
    pub delete_on_release: bool,
    /// Where it stands.
    pub place: Place,
}

/// A waiter found by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// In the known front of the queue.
    Head(usize),
    /// Behind it, loaded by name.
    Named(usize),
}

/// A view of a key's queue: its length, its front, and those asked for by version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queue {
    /// How many wait, known or not.
    pub len: i64,
    /// The order that the next one gets.
    pub next_seq: i64,
    /// The front of the queue without gaps.
    pub head: VecDeque<Waiter>,
    /// Waiters behind the front that were asked for by version, each with how many stand before it where that was asked for:
    /// to tell it the whole queue has to be counted.
    pub named: Vec<(Waiter, Option<i64>)>,
    /// Versions that were looked for by name: if they are nowhere here, they do not wait.
    pub asked: Vec<Version>,
}

impl Queue {
    /// Whether everybody who waits is known.
    pub fn is_complete(&self) -> bool {
        i64::try_from(self.head.len()).is_ok_and(|known| known == self.len)
    }

    /// Finds a waiter by version; `Err` when the view does not tell.
    pub fn find(&self, version: Version) -> Result<Option<Found>, Version> {
        if let Some(index) = self.head.iter().position(|waiter| waiter.version == version) {
            return Ok(Some(Found::Head(index)));
        }
        if let Some(index) = self.named.iter().position(|(waiter, _)| waiter.version == version) {
            return Ok(Some(Found::Named(index)));
        }
        if self.is_complete() || self.asked.contains(&version) { Ok(None) } else { Err(version) }
    }

    /// The waiter found.
    pub fn get(&self, found: Found) -> &Waiter {
        match found {
            Found::Head(index) => &self.head[index],
            Found::Named(index) => &self.named[index].0,
        }
    }

    /// The waiter found, to change where it stands.
    pub fn get_mut(&mut self, found: Found) -> &mut Waiter {
        match found {
            Found::Head(index) => &mut self.head[index],
            Found::Named(index) => &mut self.named[index].0,
        }
    }

    /// Its place in the queue, from 1; `None` where the view does not tell.
    pub fn position(&self, found: Found) -> Option<i64> {
        let before = match found {
            Found::Head(index) => i64::try_from(index).ok(),
            Found::Named(index) => self.named[index].1,
        };
        before.map(|before| before.saturating_add(1))
    }

    /// Takes a waiter out, if it is still there.
    pub fn remove(&mut self, found: Found) -> Option<Waiter> {
        let waiter = match found {
            Found::Head(index) => self.head.remove(index)?,
            Found::Named(index) => self.named.swap_remove(index).0,
        };
        self.len -= 1;
        for (other, before) in &mut self.named {
            if other.seq > waiter.seq {
                *before = before.map(|before| before - 1);
            }
        }
        Some(waiter)
    }

    /// Puts a waiter at the end, and answers how many stand before it.
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

    /// Forgets what only one decision needed, and what is too long to remember.
    pub fn trim(&mut self, longest_front: usize) {
        self.named = Vec::new();
        self.asked = Vec::new();
        self.head.truncate(longest_front);
    }
}
