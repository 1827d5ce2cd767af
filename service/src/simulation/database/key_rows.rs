//! One key in the database: its row, its permits, its waiters and its guard rows, as in the real schema.

use std::collections::BTreeMap;

use crate::{
    domain::{
        Body, BusyCount, KeyChange, KeyId, KeyState, Permit, Permits, Place, Queue, Tenant, Timestamp,
        Version, Waiter,
    },
    store::LoadRequest,
};

/// One key: its row, and its permits and waiters, which are not part of the row's state.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyRows {
    pub(super) row: Option<KeyState>,
    pub(super) permits: BTreeMap<i32, Permit>,
    pub(super) waiters: BTreeMap<i64, Waiter>,
    /// The guard rows, by slot.
    pub(super) guards: BTreeMap<i32, GuardRow>,
}

/// A guard row.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardRow {
    pub(super) version: Option<Version>,
    /// When the guard row was written.
    pub(super) written: u64,
}

impl KeyRows {
    /// The complete state of a key.
    pub(super) fn whole(&self) -> KeyState {
        let versions = self.waiters.values().map(|waiter| waiter.holder.version).collect();
        let all = LoadRequest {
            versions,
            queue_prefix: usize::MAX,
            permits: usize::MAX,
            ..LoadRequest::new(nobody())
        };
        self.view(self.row.clone(), &all, 0)
    }

    /// The row alone.
    pub(super) fn row(&self) -> Option<KeyState> {
        self.row.clone()
    }

    /// A row with the requested number of its current permits and waiters. The row may be older.
    pub(super) fn view(&self, row: Option<KeyState>, load_request: &LoadRequest, clock: i64) -> KeyState {
        let Some(mut state) = row else {
            let mut state = KeyState::absent();
            state.queue.asked.clone_from(&load_request.versions);
            return state;
        };
        self.view_queue(&mut state.queue, load_request);
        state.queue.leave_data_unread(&load_request.data_of);
        if let Body::Semaphore(semaphore) = &mut state.body {
            let count = load_request.counts_permits || semaphore.permits.slots > semaphore.max_size;
            if semaphore.guarded {
                // All permits, and the versions in their guard rows.
                let all = LoadRequest { permits: usize::MAX, ..load_request.clone() };
                self.view_permits(&mut semaphore.permits, &all, Some(clock));
                semaphore.permits.named = self.named();
            } else {
                self.view_permits(&mut semaphore.permits, load_request, count.then_some(clock));
            }
        }
        state
    }

    fn view_queue(&self, queue: &mut Queue, load_request: &LoadRequest) {
        queue.asked.clone_from(&load_request.versions);
        if queue.len == 0 {
            return;
        }
        queue.head = self.waiters.values().take(load_request.queue_prefix).cloned().collect();
        if queue.head.len() < load_request.queue_prefix {
            queue.len = i64::try_from(queue.head.len()).unwrap_or(i64::MAX);
            return;
        }
        let of_replica = |place: Place| matches!(place, Place::Attached { replica, .. } if Some(replica) == load_request.waiters_of);
        for (before, waiter) in self.waiters.values().enumerate().skip(queue.head.len()) {
            if load_request.versions.contains(&waiter.holder.version) || of_replica(waiter.place) {
                let before = i64::try_from(before).unwrap_or(i64::MAX);
                queue.named.push((
                    waiter.clone(),
                    (load_request.positions && load_request.versions.contains(&waiter.holder.version))
                        .then_some(before),
                ));
            }
        }
    }

    fn view_permits(&self, permits: &mut Permits, load_request: &LoadRequest, count_at: Option<i64>) {
        permits.asked.clone_from(&load_request.versions);
        let mut sorted: Vec<_> = self.permits.values().cloned().collect();
        sorted.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
        let behind = sorted.split_off(load_request.permits.min(sorted.len()));
        if sorted.len() >= load_request.permits {
            permits.unknown_from = sorted.last().map(|permit| permit.grant.expires_at);
            let named =
                behind.into_iter().filter(|permit| load_request.versions.contains(&permit.grant.version));
            sorted.extend(named);
        } else if sorted.is_empty() {
            permits.slots = 0;
        }
        permits.known = sorted;
        if load_request.latest_chosen && permits.unknown_from.is_some() {
            permits.add_latest_chosen(&self.permits.values().cloned().collect::<Vec<_>>());
        }
        permits.busy_counted = count_at.map(|clock| {
            let out = |permit: &&Permit| permit.grant.is_active_at(Timestamp(clock));
            let busy = i32::try_from(self.permits.values().filter(out).count()).unwrap_or(i32::MAX);
            BusyCount { busy, at: Timestamp(clock) }
        });
    }

    /// Changes a key; tokens of a new row begin above a floor.
    pub(super) fn change(&mut self, change: &KeyChange, floor: i64, serial: u64) -> Result<(), String> {
        self.write_guards(change, serial);
        let mut row = KeyState::clone(&change.state);
        row.token = row.token.above_floor(floor);
        if let Body::Mutex(mutex) = &mut row.body
            && let Some(grant) = &mut mutex.grant
        {
            grant.token = grant.token.above_floor(floor);
        }
        if let Some(from) = change.cleared_from {
            self.permits.retain(|slot, _| *slot < from);
        }
        if let Body::Semaphore(semaphore) = &mut row.body {
            for slot in &change.permits {
                let known = semaphore.permits.known.iter().find(|permit| permit.slot == *slot);
                let permit = known.ok_or_else(|| format!("the permit of slot {slot} is not known"))?;
                self.permits.insert(*slot, permit.clone());
            }
            let slots = semaphore.permits.slots;
            semaphore.permits = Permits { slots, ..Permits::default() };
        }
        for (seq, waiter) in &change.waiters {
            match waiter {
                Some(waiter) => {
                    let mut waiter = waiter.clone();
                    waiter.data = waiter.data.or_stored(self.waiters.get(seq).map(|stored| &stored.data));
                    self.waiters.insert(*seq, waiter);
                }
                None => drop(self.waiters.remove(seq)),
            }
        }
        let Queue { len, next_seq, .. } = row.queue;
        row.queue = Queue { len, next_seq, ..Queue::default() };
        self.row = Some(row);
        self.check_counts()
    }

    /// Checks that the permits and waiters match the counts in the row.
    fn check_counts(&self) -> Result<(), String> {
        let Some(row) = &self.row else { return Ok(()) };
        let waiters = i64::try_from(self.waiters.len()).unwrap_or(i64::MAX);
        if row.queue.len != waiters {
            return Err(format!("the row counts {} waiters and there are {waiters}", row.queue.len));
        }
        if let Body::Semaphore(semaphore) = &row.body
            && usize::try_from(semaphore.permits.slots) != Ok(self.permits.len())
        {
            let (slots, permits) = (semaphore.permits.slots, self.permits.len());
            return Err(format!("the row counts {slots} slots and there are {permits}"));
        }
        Ok(())
    }
}

/// An id for a view whose id is not used.
fn nobody() -> KeyId {
    KeyId { tenant: Tenant::trusted("-"), key: crate::domain::Key::trusted("-") }
}
