//! The state of one key.

use std::collections::BTreeMap;

use super::{
    Data, EndedVersions, Grant, Guard, Now, Permits, Place, Queue, ReplicaId, Revocations, RowVersion,
    Timestamp, Token, Version, permits::Room,
};

/// The pause before the next look if the view does not show when the next event is, in milliseconds.
const RECHECK_MS: i64 = 50;

/// The pause before the next look at a key that waits for an open transaction, in milliseconds. The replica that met
/// the transaction tries more often.
const RECHECK_GUARD_MS: i64 = 500;

/// The pause before the next look if only waiters of suspect replicas could take a free place, in milliseconds.
const RECHECK_SUSPECTS_MS: i64 = 500;

/// A mutex: its data and its last grant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mutex {
    /// The text stored with the lock. It outlives grants.
    pub data: Option<Data>,
    /// The last grant, active or ended; `None` if the lock was only created.
    pub grant: Option<Grant>,
    /// Whether the lock is guarded, and the state of its guard row.
    pub guard: Guard,
}

impl Mutex {
    /// The version that the guard row names, if it names one.
    pub fn named_version(&self) -> Option<Version> {
        self.grant.as_ref().filter(|_| self.guard.is_named()).map(|grant| grant.version)
    }

    /// Whether the lock is taken by an active grant, or by an open transaction of an ended one.
    pub fn is_taken(&self, now: Now) -> bool {
        self.guard.is_ending() || self.grant.as_ref().is_some_and(|grant| grant.is_active(now))
    }
}

/// A semaphore: its size and a view of its permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semaphore {
    /// The maximum number of active permits, at least 1.
    pub max_size: i32,
    /// The default lease of its permits, in milliseconds.
    pub lease_ms: i64,
    /// Whether its permits are guarded.
    pub guarded: bool,
    /// The permits.
    pub permits: Permits,
}

/// The lock or semaphore that a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing: never created, or deleted. The key keeps its token, its ended versions and its queue.
    Absent,
    /// A lock.
    Mutex(Mutex),
    /// A semaphore.
    Semaphore(Semaphore),
}

/// Everything that a decision needs to know about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// The row version; `None` if there is no row.
    pub row_version: Option<RowVersion>,
    /// The lock or semaphore.
    pub body: Body,
    /// The last granted token; 0 if none is known.
    pub token: Token,
    /// Chosen versions whose grants were replaced.
    pub ended: EndedVersions,
    /// Grants that operators ended by force.
    pub revoked: Revocations,
    /// The waiters.
    pub queue: Queue,
    /// When the lock or semaphore was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl KeyState {
    /// The version that the guard row of a mutex names, if it names one.
    pub fn named_version(&self) -> Option<Version> {
        match &self.body {
            Body::Mutex(mutex) => mutex.named_version(),
            Body::Absent | Body::Semaphore(_) => None,
        }
    }

    /// The state of a mutex and its guard row; [`Guard::Off`] if the key is no mutex.
    pub const fn guard(&self) -> Guard {
        match &self.body {
            Body::Mutex(mutex) => mutex.guard,
            Body::Absent | Body::Semaphore(_) => Guard::Off,
        }
    }

    /// The versions that the guard rows name, by slot. A mutex has slot 0.
    pub fn named_versions(&self) -> BTreeMap<i32, Version> {
        match &self.body {
            Body::Mutex(mutex) => mutex.named_version().map(|version| (0, version)).into_iter().collect(),
            Body::Semaphore(semaphore) => semaphore.permits.named.clone(),
            Body::Absent => BTreeMap::new(),
        }
    }

    /// Whether a grant was ended and only an open transaction keeps its place from being free.
    pub fn is_ending(&self) -> bool {
        match &self.body {
            Body::Mutex(mutex) => mutex.guard.is_ending(),
            Body::Semaphore(semaphore) => semaphore.permits.ending().next().is_some(),
            Body::Absent => false,
        }
    }

    /// A key without a row.
    pub fn absent() -> Self {
        Self {
            row_version: None,
            body: Body::Absent,
            token: Token::default(),
            ended: EndedVersions::default(),
            revoked: Revocations::default(),
            queue: Queue::default(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }

    /// Whether an acquire of a mutex is surely granted at once: nobody holds it or waits, and no guard is in the way.
    pub fn is_surely_free(&self, now: Now) -> bool {
        let is_free = match &self.body {
            Body::Absent => true,
            Body::Mutex(mutex) => !mutex.guard.is_on() && !mutex.is_taken(now),
            Body::Semaphore(_) => false,
        };
        is_free && self.queue.len == 0
    }

    /// The number of grants that there is room for.
    pub(super) fn room(&self, now: Now) -> Room {
        match &self.body {
            Body::Absent => Room { count: 1, certain: true },
            Body::Mutex(mutex) => Room { count: i32::from(!mutex.is_taken(now)), certain: true },
            Body::Semaphore(semaphore) => semaphore.permits.room(semaphore.max_size, now),
        }
    }

    /// The time at which this key has to be looked at again even if nobody writes it: now if the queue can be served,
    /// otherwise the next end of a lease, of an offer or of a detached waiter's time. `None` without waiters.
    pub fn next_event(&self, now: Now, is_suspect: impl Fn(ReplicaId) -> bool) -> Option<Timestamp> {
        if self.queue.len == 0 {
            return None;
        }
        let suspected = match self.next_served(now, is_suspect) {
            NextServed::Somebody => return Some(now.at_least),
            NextServed::Suspect => Some(now.at_most.plus_ms(RECHECK_SUSPECTS_MS)),
            NextServed::Nobody => None,
        };
        let lease = match &self.body {
            Body::Absent => None,
            Body::Mutex(mutex) if mutex.guard.is_ending() => Some(now.at_most.plus_ms(RECHECK_GUARD_MS)),
            Body::Mutex(mutex) => {
                let active = mutex.grant.as_ref().filter(|grant| grant.is_active(now));
                active.map(|grant| grant.expires_at)
            }
            Body::Semaphore(semaphore) => {
                let look_again = self.is_ending().then(|| now.at_most.plus_ms(RECHECK_GUARD_MS));
                semaphore.permits.next_end(now).into_iter().chain(look_again).min()
            }
        };
        // Once the known permits have ended, the view does not show which unknown one ends next: look again soon, not
        // at once.
        let lease = lease.map(|end| if now.is_past(end) { now.at_most.plus_ms(RECHECK_MS) } else { end });
        let places = self.queue.head.iter().filter_map(|waiter| match waiter.place {
            Place::Attached { offered_until, .. } => offered_until,
            Place::Detached { until } => Some(until),
        });
        lease.into_iter().chain(places).chain(suspected).min()
    }

    /// The waiters for which a place is free that is not even offered: a lease has ended since the decision that left
    /// this state. Serving the queue ends this condition, so an immediate look does not lead to an endless loop.
    fn next_served(&self, now: Now, is_suspect: impl Fn(ReplicaId) -> bool) -> NextServed {
        let mut free = self.room(now).count;
        let mut suspected = false;
        for waiter in &self.queue.head {
            match waiter.place {
                Place::Attached { replica, offered_until: None, .. } if is_suspect(replica) => {
                    suspected = true;
                }
                Place::Attached { offered_until: None, .. } => {
                    return if free > 0 { NextServed::Somebody } else { NextServed::Nobody };
                }
                Place::Attached { offered_until: Some(_), .. } => free -= 1,
                Place::Detached { .. } => {}
            }
        }
        match (free > 0, suspected) {
            (false, _) => NextServed::Nobody,
            (true, true) => NextServed::Suspect,
            (true, false) if self.queue.is_complete() => NextServed::Nobody,
            (true, false) => NextServed::Somebody,
        }
    }
}

/// The waiters for which a place is free.
enum NextServed {
    /// No waiter: no place is free, or nobody who could take it waits.
    Nobody,
    /// Only waiters of suspect replicas, as far as is known.
    Suspect,
    /// Some waiter.
    Somebody,
}
