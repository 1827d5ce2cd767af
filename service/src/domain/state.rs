//! The state of one key.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Data, EndedVersions, Grant, Guard, Now, Permits, Place, Queue, ReplicaId, Revocations, RowVersion,
    Timestamp, Token, Version, permits::Room,
};

/// The pause before the next look where the view does not tell when something happens, in milliseconds.
const LOOK_AGAIN_MS: i64 = 50;

/// The pause before the next look at a lock that is not free because of an open transaction, in milliseconds. The replica that
/// has met that transaction tries more often.
const LOOK_AT_GUARD_MS: i64 = 500;

/// The pause before the next look where waiters of suspect replicas stand beside a free place, in milliseconds.
const LOOK_AT_SUSPECTS_MS: i64 = 500;

/// A mutex: its data, and the grant that has it or had it last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mutex {
    /// The text stored with the lock; it outlives grants.
    pub data: Option<Data>,
    /// The last grant, standing or ended; none where it was only created.
    pub grant: Option<Grant>,
    /// Whether it is guarded, and how its guard row stands.
    pub guard: Guard,
}

impl Mutex {
    /// The version that the guard row names.
    pub fn named_version(&self) -> Option<Version> {
        self.grant.as_ref().filter(|_| self.guard.is_named()).map(|grant| grant.version)
    }

    /// Whether the lock is taken: by a grant, or by an open transaction of one.
    pub fn is_taken(&self, now: Now) -> bool {
        self.guard.is_ending() || self.grant.as_ref().is_some_and(|grant| grant.is_active(now))
    }
}

/// A semaphore: its size, and its permits as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semaphore {
    /// How many permits may be out at a time, at least 1.
    pub max_size: i32,
    /// The lease of a permit that names none, in milliseconds.
    pub lease_ms: i64,
    /// Whether its permits are guarded.
    pub guarded: bool,
    /// The permits.
    pub permits: Permits,
}

/// What a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing: never created, or deleted. Its token, its ended versions and its queue go on all the same.
    Absent,
    /// A lock.
    Mutex(Mutex),
    /// A semaphore.
    Semaphore(Semaphore),
}

/// Everything a decision needs to know of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// The last write of the row; `None` where there is no row.
    pub row_version: Option<RowVersion>,
    /// What the key is.
    pub body: Body,
    /// The last token granted; 0 where none is known.
    pub token: Token,
    /// Chosen versions whose grants were replaced.
    pub ended: EndedVersions,
    /// Grants that operators ended by force.
    pub revoked: Revocations,
    /// Those who wait.
    pub queue: Queue,
    /// When the lock or semaphore was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl KeyState {
    /// The version that the guard row names.
    pub fn named_version(&self) -> Option<Version> {
        match &self.body {
            Body::Mutex(mutex) => mutex.named_version(),
            Body::Absent | Body::Semaphore(_) => None,
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

    /// Whether a grant was ended, and only an open transaction keeps its place from being free.
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

    /// How many more may hold.
    pub(super) fn room(&self, now: Now) -> Room {
        match &self.body {
            Body::Absent => Room { count: 1, certain: true },
            Body::Mutex(mutex) => Room { count: i32::from(!mutex.is_taken(now)), certain: true },
            Body::Semaphore(semaphore) => semaphore.permits.room(semaphore.max_size, now),
        }
    }

    /// When somebody has to look at this key again although nobody wrote it: at once where the queue can be served, else
    /// at the next lease that ends, offer that lapses or kept place that is lost. `None` where nobody waits.
    pub fn next_event(&self, now: Now, suspects: &BTreeSet<ReplicaId>) -> Option<Timestamp> {
        if self.queue.len == 0 {
            return None;
        }
        let suspected = match self.next_served(now, suspects) {
            NextServed::Somebody => return Some(now.at_least),
            NextServed::Suspect => Some(now.at_most.plus_ms(LOOK_AT_SUSPECTS_MS)),
            NextServed::Nobody => None,
        };
        let lease = match &self.body {
            Body::Absent => None,
            Body::Mutex(mutex) if mutex.guard.is_ending() => Some(now.at_most.plus_ms(LOOK_AT_GUARD_MS)),
            Body::Mutex(mutex) => {
                let active = mutex.grant.as_ref().filter(|grant| grant.is_active(now));
                active.map(|grant| grant.expires_at)
            }
            Body::Semaphore(semaphore) => {
                let look_again = self.is_ending().then(|| now.at_most.plus_ms(LOOK_AT_GUARD_MS));
                semaphore.permits.next_end(now).into_iter().chain(look_again).min()
            }
        };
        // Which unknown permit ends next cannot be told once the known ones have ended: look again soon, not at once.
        let lease = lease.map(|end| if now.is_past(end) { now.at_most.plus_ms(LOOK_AGAIN_MS) } else { end });
        let places = self.queue.head.iter().filter_map(|waiter| match waiter.place {
            Place::Attached { offered_until, .. } => offered_until,
            Place::Detached { until } => Some(until),
        });
        lease.into_iter().chain(places).chain(suspected).min()
    }

    /// Whether a place is free for somebody to whom it is not even offered: a lease has ended since the decision that left
    /// this state. Serving the queue ends that, so looking at once does not turn into looking all the time.
    fn next_served(&self, now: Now, suspects: &BTreeSet<ReplicaId>) -> NextServed {
        let mut free = self.room(now).count;
        let mut suspected = false;
        for waiter in &self.queue.head {
            match waiter.place {
                Place::Attached { replica, offered_until: None, .. } if suspects.contains(&replica) => {
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

/// For whom a place is free.
enum NextServed {
    /// Nobody: no place is free, or nobody waits who could take it.
    Nobody,
    /// Only those whose replicas are suspect, as far as is known.
    Suspect,
    /// Somebody.
    Somebody,
}
