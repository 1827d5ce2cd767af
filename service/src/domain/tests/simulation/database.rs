//! A database of one key: three tables, conditional writes, partial views, and a clock of its own.

use std::collections::BTreeMap;

use crate::domain::{
    Body, BusyCount, EndedVersions, KeyState, Mutex, Permit, Permits, Place, Queue, ReplicaId, Semaphore,
    Stamp, Timestamp, Token, Version, Waiter, Working,
};

/// What is loaded of a key.
#[derive(Debug, Clone, Default)]
pub(super) struct Want {
    pub(super) heads: usize,
    pub(super) permits: usize,
    pub(super) versions: Vec<Version>,
    pub(super) busy: bool,
    pub(super) waiters_of: Option<ReplicaId>,
}

#[derive(Debug, Clone)]
pub(super) enum RowBody {
    Absent,
    Mutex(Mutex),
    Semaphore { max_size: i32, lease_ms: i64, slots: i32 },
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) stamp: Stamp,
    pub(super) body: RowBody,
    token: Token,
    ended: EndedVersions,
    queue_len: i64,
    next_seq: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// The tables, as far as they hold this key.
#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) row: Option<Row>,
    pub(super) permits: BTreeMap<i32, Permit>,
    pub(super) waiters: BTreeMap<i64, Waiter>,
    /// What has to be added to simulated time to get what the database's clock shows.
    pub(super) clock_offset: i64,
}

impl Database {
    /// How many may hold at a time.
    pub(super) fn places(&self) -> usize {
        match self.row.as_ref().map(|row| &row.body) {
            Some(RowBody::Semaphore { max_size, .. }) => usize::try_from(*max_size).unwrap(),
            _ => 1,
        }
    }

    /// Loads a view as bounded as a store would.
    pub(super) fn load(&self, want: &Want, clock: i64) -> KeyState {
        let Some(row) = &self.row else {
            let mut state = KeyState::absent();
            state.queue.asked.clone_from(&want.versions);
            return state;
        };
        let body = match &row.body {
            RowBody::Absent => Body::Absent,
            RowBody::Mutex(mutex) => Body::Mutex(mutex.clone()),
            RowBody::Semaphore { max_size, lease_ms, slots } => {
                let count = want.busy || slots > max_size;
                let permits = self.load_permits(want, *slots, count.then_some(clock));
                Body::Semaphore(Semaphore { max_size: *max_size, lease_ms: *lease_ms, permits })
            }
        };
        KeyState {
            stamp: Some(row.stamp),
            body,
            token: row.token,
            ended: row.ended.clone(),
            queue: self.load_queue(want, row),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }

    fn load_queue(&self, want: &Want, row: &Row) -> Queue {
        let head: std::collections::VecDeque<_> = self.waiters.values().take(want.heads).cloned().collect();
        let behind = |(before, waiter): (usize, &Waiter)| {
            let of_the_dead =
                matches!(waiter.place, Place::Attached { replica, .. } if Some(replica) == want.waiters_of);
            (before >= head.len() && (want.versions.contains(&waiter.version) || of_the_dead))
                .then(|| (waiter.clone(), i64::try_from(before).ok()))
        };
        let named = self.waiters.values().enumerate().filter_map(behind).collect();
        Queue { len: row.queue_len, next_seq: row.next_seq, head, named, asked: want.versions.clone() }
    }

    fn load_permits(&self, want: &Want, slots: i32, count_at: Option<i64>) -> Permits {
        let mut sorted: Vec<_> = self.permits.values().cloned().collect();
        sorted.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
        let named = sorted.split_off(want.permits.min(sorted.len()));
        let unknown_from = (sorted.len() >= want.permits)
            .then(|| sorted.last().map_or(Timestamp::default(), |permit| permit.grant.expires_at));
        sorted.extend(named.into_iter().filter(|permit| want.versions.contains(&permit.grant.version)));
        let standing = |clock: i64| {
            let out = self
                .permits
                .values()
                .filter(|permit| !permit.grant.released && permit.grant.expires_at > Timestamp(clock));
            BusyCount { busy: i32::try_from(out.count()).unwrap(), at: Timestamp(clock) }
        };
        Permits {
            known: sorted,
            slots,
            unknown_from,
            asked: want.versions.clone(),
            busy_counted: count_at.map(standing),
        }
    }

    /// Writes a change if the row is still the one that it was decided on. Returns whether it did.
    pub(super) fn commit(&mut self, prev: Option<Stamp>, stamp: Stamp, working: &Working) -> bool {
        if self.row.as_ref().map(|row| row.stamp) != prev {
            return false;
        }
        let state = &working.state;
        if working.clear_permits {
            self.permits.clear();
        }
        let body = match &state.body {
            Body::Absent => RowBody::Absent,
            Body::Mutex(mutex) => RowBody::Mutex(mutex.clone()),
            Body::Semaphore(semaphore) => {
                for slot in &working.permits {
                    let mut known = semaphore.permits.known.iter();
                    let permit = known.find(|permit| permit.slot == *slot).unwrap();
                    self.permits.insert(*slot, permit.clone());
                }
                let (max_size, lease_ms) = (semaphore.max_size, semaphore.lease_ms);
                RowBody::Semaphore { max_size, lease_ms, slots: semaphore.permits.slots }
            }
        };
        for (seq, waiter) in &working.waiters {
            match waiter {
                Some(waiter) => drop(self.waiters.insert(*seq, waiter.clone())),
                None => drop(self.waiters.remove(seq)),
            }
        }
        self.row = Some(Row {
            stamp,
            body,
            token: state.token,
            ended: state.ended.clone(),
            queue_len: state.queue.len,
            next_seq: state.queue.next_seq,
            created_at: state.created_at,
            updated_at: state.updated_at,
        });
        let counted = i64::try_from(self.waiters.len()).unwrap();
        assert_eq!(state.queue.len, counted, "the row counts those who wait");
        if let Some(Row { body: RowBody::Semaphore { slots, .. }, .. }) = &self.row {
            assert_eq!(i32::try_from(self.permits.len()).unwrap(), *slots, "the row counts the slots");
        }
        true
    }
}
