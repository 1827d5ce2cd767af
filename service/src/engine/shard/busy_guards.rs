//! Keys whose guard rows were found locked: a user's transaction is open.
//!
//! Such a key is tried again after pauses that grow. Meanwhile its commands are decided without the row. Commands that
//! cannot be answered without the row wait here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    SeededMap,
    domain::{GuardBusy, KeyId, Tenant},
    engine::{pending_request::PendingRequest, timers::Timers},
};

/// The pause after a guard row was first found locked; the pause doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause: a guarded key is handed over at most this much later than it could be.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// With many busy keys of one tenant their longest pause is this times their number: all tries of a tenant together must
/// not load the database.
const PAUSE_PER_KEY: Duration = Duration::from_millis(10);

/// A transaction that keeps a guard row locked for this long is logged.
const LOGGED_AFTER: Duration = Duration::from_secs(1);

/// The pause between two thorough searches for the session that keeps a guard row locked, and the pause once a session
/// is known: another one may be in the way by then.
const SEARCH_EVERY: Duration = Duration::from_millis(500);
const SEARCH_KNOWN_EVERY: Duration = Duration::from_secs(5);

/// A key whose guard row was found locked.
#[derive(Debug)]
struct BusyKey {
    /// When the guard row was first found locked.
    since: Instant,
    /// When to try again.
    again: Instant,
    /// The next pause.
    pause: Duration,
    busy: GuardBusy,
    /// The last thorough search for the session that keeps the row locked.
    searched: Option<Instant>,
    logged: bool,
    /// Commands that wait for the guard row, each with a deadline.
    waiting: Vec<(Instant, PendingRequest)>,
    /// The number of the key's timer.
    timer: u64,
}

impl BusyKey {
    const fn search_every(&self) -> Duration {
        if self.busy.session.is_some() { SEARCH_KNOWN_EVERY } else { SEARCH_EVERY }
    }
}

/// A busy key whose timer is due.
#[derive(Debug)]
pub(super) struct DueKey {
    pub(super) id: KeyId,
    pub(super) busy: GuardBusy,
    /// Commands whose time to wait for the guard row is over.
    pub(super) overdue: Vec<PendingRequest>,
    /// Commands to decide again, because the guard row is tried now; `None` if the row is not tried yet.
    pub(super) again: Option<Vec<PendingRequest>>,
}

/// The keys of a shard whose guard rows were found locked.
#[derive(Debug)]
pub(super) struct BusyGuards {
    /// How long a command waits for a guard row.
    wait: Duration,
    keys: SeededMap<KeyId, BusyKey>,
    /// The number of keys of each tenant that has some.
    of_tenant: SeededMap<Tenant, u32>,
    timers: Timers<KeyId>,
    /// The number of such keys of all shards.
    count: Arc<AtomicUsize>,
}

impl BusyGuards {
    pub(super) fn new(wait: Duration, count: Arc<AtomicUsize>) -> Self {
        let (keys, of_tenant) = (SeededMap::default(), SeededMap::default());
        Self { wait, keys, of_tenant, timers: Timers::default(), count }
    }

    /// Whether a key's guard row was found locked.
    pub(super) fn contains(&self, id: &KeyId) -> bool {
        self.keys.contains_key(id)
    }

    /// Whether to search thoroughly now for the session that keeps a key's guard row locked.
    pub(super) fn begin_search(&mut self, id: &KeyId, now: Instant) -> bool {
        match self.keys.get_mut(id) {
            Some(key) if key.searched.is_none_or(|at| now.duration_since(at) >= key.search_every()) => {
                key.searched = Some(now);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The slots and session found for a locked guard row; `None` once the row is to be tried again with all commands
    /// of its key.
    pub(super) fn get(&self, id: &KeyId) -> Option<&GuardBusy> {
        if self.keys.is_empty() {
            return None;
        }
        let is_left_alone = |key: &&BusyKey| Instant::now() < key.again || !key.waiting.is_empty();
        self.keys.get(id).filter(is_left_alone).map(|key| &key.busy)
    }

    /// Notes that the guard row of a key was locked.
    pub(super) fn note_busy(&mut self, id: &KeyId, busy: GuardBusy, now: Instant) {
        let key = self.entry(id, now);
        key.busy.slots = busy.slots;
        if busy.session.is_some() {
            key.busy.session = busy.session;
        }
        if now.duration_since(key.since) >= LOGGED_AFTER && !std::mem::replace(&mut key.logged, true) {
            tracing::warn!(
                tenant = id.tenant.as_str(),
                key = id.key.as_str(),
                session = key.busy.session.as_deref(),
                "a transaction that called db_locks_guard is open, and a guarded key waits for its end"
            );
        }
        key.again = now + key.pause;
        let pause = key.pause * 2;
        let of_tenant = self.of_tenant.get(&id.tenant).copied().unwrap_or_default();
        let longest = LONGEST_PAUSE.max(PAUSE_PER_KEY.saturating_mul(of_tenant));
        self.entry(id, now).pause = pause.min(longest);
        self.set_timer(id);
    }

    /// Lets a command wait for the guard row of its key.
    pub(super) fn park(&mut self, mut request: PendingRequest, now: Instant) {
        let until = *request.guard_until.get_or_insert(request.arrived + self.wait);
        let id = request.id.clone();
        self.entry(&id, now).waiting.push((until, request));
        self.set_timer(&id);
    }

    fn entry(&mut self, id: &KeyId, now: Instant) -> &mut BusyKey {
        self.keys.entry(id.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            *self.of_tenant.entry(id.tenant.clone()).or_default() += 1;
            BusyKey {
                since: now,
                again: now,
                pause: FIRST_PAUSE,
                busy: GuardBusy::default(),
                searched: None,
                logged: false,
                waiting: Vec::new(),
                timer: u64::MAX,
            }
        })
    }

    fn set_timer(&mut self, id: &KeyId) {
        let Some(key) = self.keys.get_mut(id) else { return };
        self.timers.stop(key.timer);
        let deadline = key.waiting.iter().map(|(until, _)| *until).min();
        let at = deadline.map_or(key.again, |until| until.min(key.again));
        key.timer = self.timers.set(at, id.clone());
    }

    /// When [`Self::pop_due`] has something to do.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.timers.next_at()
    }

    /// Removes and returns the next key whose timer is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<DueKey> {
        loop {
            let id = self.timers.pop_due(now)?;
            let Some(key) = self.keys.get_mut(&id) else { continue };
            let waiting = std::mem::take(&mut key.waiting);
            let is_open = |(_, request): &(_, PendingRequest)| {
                request.reply.as_ref().is_some_and(|reply| !reply.is_closed())
            };
            let (late, left): (Vec<_>, Vec<_>) =
                waiting.into_iter().filter(is_open).partition(|(until, _)| *until <= now);
            let overdue = late.into_iter().map(|(_, request)| request).collect();
            let busy = key.busy.clone();
            if key.again <= now {
                let again = left.into_iter().map(|(_, request)| PendingRequest { arrived: now, ..request });
                return Some(DueKey { id, busy, overdue, again: Some(again.collect()) });
            }
            key.waiting = left;
            self.set_timer(&id);
            return Some(DueKey { id, busy, overdue, again: None });
        }
    }

    /// Notes that no guard row of a key is in the way any more. Returns the commands that waited.
    pub(super) fn note_free(&mut self, id: &KeyId) -> Vec<PendingRequest> {
        if self.keys.is_empty() {
            return Vec::new();
        }
        let Some(key) = self.keys.remove(id) else { return Vec::new() };
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Some(of_tenant) = self.of_tenant.get_mut(&id.tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                self.of_tenant.remove(&id.tenant);
            }
        }
        self.timers.stop(key.timer);
        let now = Instant::now();
        key.waiting.into_iter().map(|(_, request)| PendingRequest { arrived: now, ..request }).collect()
    }

    /// Removes and returns all commands that wait for guard rows.
    pub(super) fn take_waiting(&mut self) -> Vec<(GuardBusy, PendingRequest)> {
        let of_key = |key: &mut BusyKey| {
            let waiting = std::mem::take(&mut key.waiting);
            let busy = key.busy.clone();
            waiting.into_iter().map(move |(_, request)| (busy.clone(), request))
        };
        self.keys.values_mut().flat_map(of_key).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
