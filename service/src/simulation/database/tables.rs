//! What the database holds: rows with conditional writes, and what hangs on them, as the real schema has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::Instant;

use crate::{
    domain::{
        Body, BusyCount, Epoch, KeyChange, KeyId, KeyState, Permit, Permits, Place, Queue, ReplicaId, Tenant,
        Timestamp, Token, Version, Waiter,
    },
    store::{LoadRequest, Write},
};

/// One key: its row, and the permits and waiters that hang on it. The row's state has neither.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyRows {
    pub(super) row: Option<KeyState>,
    pub(super) permits: BTreeMap<i32, Permit>,
    pub(super) waiters: BTreeMap<i64, Waiter>,
    /// The guard rows, by slot.
    pub(super) guards: BTreeMap<i32, GuardRow>,
}

/// Who has a row locked, and until when at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowLock {
    pub(super) owner: u64,
    pub(super) until: Instant,
}

/// A tenant's floor of tokens.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Floor {
    pub(super) height: i64,
    pub(super) settled: i64,
    pub(super) raised_at: i64,
}

/// A guard row.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardRow {
    pub(super) version: Option<Version>,
    /// When it was written.
    pub(super) written: u64,
}

/// A user's transaction.
#[derive(Debug, Clone)]
pub(super) struct UserTransaction {
    pub(super) id: KeyId,
    pub(super) began: u64,
    /// When it read what it will write.
    pub(super) read: u64,
    /// The grant for which the guard let it pass, and that grant's slot: it has that guard row locked.
    pub(super) passed: Option<(Version, i32)>,
}

/// The server that answers, and the row of the epoch.
#[derive(Debug, Default, Clone)]
pub(super) struct Server {
    /// Its number, by which it is known from others.
    pub(super) number: u64,
    pub(super) epoch: Epoch,
    /// The server that the epoch was valid for.
    pub(super) identity: Option<u64>,
    /// What the standby has, since it does not follow any more.
    pub(super) standby: Option<Box<Tables>>,
    /// When that was so.
    pub(super) left_behind: i64,
    /// When the epoch was last raised.
    pub(super) raised: Option<Instant>,
}

/// All tables.
#[derive(Debug, Default, Clone)]
pub(super) struct Tables {
    pub(super) keys: BTreeMap<KeyId, KeyRows>,
    pub(super) replicas: BTreeMap<ReplicaId, i64>,
    pub(super) floors: BTreeMap<Tenant, Floor>,
    pub(super) sweep_lease: Option<(ReplicaId, i64)>,
    pub(super) locks: BTreeMap<KeyId, RowLock>,
    next_lock: u64,
    /// Notifications that were sent and not received yet, with when they arrive.
    pub(super) notifications: BTreeMap<ReplicaId, VecDeque<(Instant, KeyId)>>,
    /// What has to be added to the milliseconds since the start to get what the clock shows.
    pub(super) clock_offset: i64,
    /// No connection can be made until then.
    pub(super) away_until: Option<Instant>,
    /// The transactions of users that are open, by number.
    pub(super) transactions: BTreeMap<u64, UserTransaction>,
    /// The number of things that happened, to tell what came first.
    serial: u64,
    /// The server, and the row of the epoch.
    pub(super) server: Server,
}

/// A write that was applied.
pub(super) struct Applied {
    pub(super) token: Token,
    /// What the key was before, after each command of the write, and at the end.
    pub(super) states: Vec<KeyState>,
}

impl KeyRows {
    /// Everything that is known of a key.
    pub(super) fn whole(&self) -> KeyState {
        let all = LoadRequest { queue_prefix: usize::MAX, permits: usize::MAX, ..LoadRequest::new(nobody()) };
        self.view(self.row.clone(), &all, 0)
    }

    /// The row alone.
    pub(super) fn row(&self) -> Option<KeyState> {
        self.row.clone()
    }

    /// A row with as much of what hangs on it now as is wanted. The row may be older.
    pub(super) fn view(&self, row: Option<KeyState>, load_request: &LoadRequest, clock: i64) -> KeyState {
        let Some(mut state) = row else {
            let mut state = KeyState::absent();
            state.queue.asked.clone_from(&load_request.versions);
            return state;
        };
        self.view_queue(&mut state.queue, load_request);
        if let Body::Semaphore(semaphore) = &mut state.body {
            let count = load_request.busy || semaphore.permits.slots > semaphore.max_size;
            if semaphore.guarded {
                // All of its permits, and what their guard rows name.
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
            if load_request.versions.contains(&waiter.version) || of_replica(waiter.place) {
                let before = i64::try_from(before).unwrap_or(i64::MAX);
                queue.named.push((
                    waiter.clone(),
                    (load_request.positions && load_request.versions.contains(&waiter.version))
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
    fn change(&mut self, change: &KeyChange, floor: i64, serial: u64) -> Result<(), String> {
        self.write_guards(change, serial);
        let mut row = KeyState::clone(&change.state);
        row.token = row.token.above_floor(floor);
        if let Body::Mutex(mutex) = &mut row.body
            && let Some(grant) = &mut mutex.grant
        {
            grant.token = grant.token.above_floor(floor);
        }
        if change.clear_permits {
            self.permits.clear();
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
                Some(waiter) => drop(self.waiters.insert(*seq, waiter.clone())),
                None => drop(self.waiters.remove(seq)),
            }
        }
        let Queue { len, next_seq, .. } = row.queue;
        row.queue = Queue { len, next_seq, ..Queue::default() };
        self.row = Some(row);
        self.check_counts()
    }

    /// What the row counts has to be there.
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

impl Tables {
    /// Applies a write if its row is still the one that it was decided on; `None` if it is not.
    pub(super) fn apply(&mut self, write: &Write) -> Option<Result<Applied, String>> {
        let (id, change) = (&write.change.id, &write.change);
        let floor = self.floors.get(&id.tenant).map_or(0, |floor| floor.height);
        let serial = self.next_serial();
        let rows = self.keys.entry(id.clone()).or_default();
        if rows.row.as_ref().and_then(|row| row.row_version) != write.prev {
            return None;
        }
        let floor = if rows.row.is_none() { floor } else { 0 };
        let mut states = vec![rows.whole()];
        let mut changed = rows.clone();
        for step in change.steps.before.iter().chain([change.as_ref()]) {
            changed = rows.clone();
            if let Err(corruption) = changed.change(step, floor, serial) {
                return Some(Err(corruption));
            }
            states.push(changed.whole());
        }
        if let Some(row) = &mut changed.row {
            row.row_version = Some(write.row_version);
        }
        *rows = changed;
        let token = rows.row.as_ref().map_or(Token(0), |row| row.token);
        Some(Ok(Applied { token, states }))
    }

    /// Rows with their waiters' keys, for what asks about all waiters.
    pub(super) fn waiters(&self) -> impl Iterator<Item = (&KeyId, &Waiter)> {
        self.keys.iter().flat_map(|(id, rows)| rows.waiters.values().map(move |waiter| (id, waiter)))
    }

    /// The keys for which some waiter is as wanted.
    pub(super) fn keys_with(&self, wanted: impl Fn(&Waiter) -> bool) -> Vec<KeyId> {
        let keys: BTreeSet<_> =
            self.waiters().filter(|(_, waiter)| wanted(waiter)).map(|(id, _)| id.clone()).collect();
        keys.into_iter().collect()
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Numbers that were given stay given.
    pub(super) fn go_on_counting(&mut self, before: &Self) {
        (self.serial, self.next_lock) = (before.serial, before.next_lock);
    }

    pub(super) fn new_lock(&mut self) -> u64 {
        self.next_lock += 1;
        self.next_lock
    }

    /// Whether one of these rows is locked by another.
    pub(super) fn is_locked<'k>(&self, mut ids: impl Iterator<Item = &'k KeyId>, now: Instant) -> bool {
        ids.any(|id| self.locks.get(id).is_some_and(|lock| lock.until > now))
    }

    pub(super) fn unlock(&mut self, owner: u64) {
        self.locks.retain(|_, lock| lock.owner != owner);
    }
}

/// A name where only what hangs on a row is wanted.
fn nobody() -> KeyId {
    KeyId { tenant: Tenant::trusted("-"), key: crate::domain::Key::trusted("-") }
}
