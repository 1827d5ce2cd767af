//! Changes of the holder of guarded keys. Such a change needs the key's guard row, which a user's transaction may keep
//! locked for any time. So each change is committed alone, beside the batches, and never waits for the row.
//!
//! If the guard row is locked, the key is tried again after pauses that grow. Meanwhile its commands are decided
//! without the row. Commands that cannot be answered without the row wait here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    batch::{Batch, DecidedTask},
    guarded_lines::GuardedLines,
};
use crate::{
    SeededMap,
    domain::{GuardBusy, KeyId, Tenant},
    engine::{key_task::KeyTask, pending_request::PendingRequest, timers::Timers},
    store::Write,
};

/// The pause after a guard row was first found locked; the pause doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause: a guarded key is handed over at most this much later than it could be.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// With many busy keys the longest pause is this times their number: all tries together must not load the database.
const PAUSE_PER_KEY: Duration = Duration::from_millis(10);

/// A transaction that keeps a guard row locked for this long is logged.
const LOGGED_AFTER: Duration = Duration::from_secs(1);

/// The pause between two thorough searches for the session that keeps a guard row locked, and the pause once a session
/// is known: another one may be in the way by then.
const SEARCH_EVERY: Duration = Duration::from_millis(500);
const SEARCH_KNOWN_EVERY: Duration = Duration::from_secs(5);

/// The maximum number of such commits under way. The other connections are left to the batches.
const MOST_COMMITS: usize = 8;

/// The maximum number of such commits that try a locked row again. The others are left to keys whose row was not found
/// locked.
const MOST_RETRIES: usize = 2;

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

/// The changes of a shard that need guard rows.
#[derive(Debug)]
pub(super) struct GuardedKeys {
    /// Whether others can lock guard rows. They cannot where the database has one writer at a time.
    can_be_locked: bool,
    /// How long a command waits for a guard row.
    wait: Duration,
    /// Decided tasks that wait for their commit.
    lines: GuardedLines,
    /// The tasks of the commits under way, by number.
    under_way: SeededMap<u64, Vec<DecidedTask>>,
    busy: SeededMap<KeyId, BusyKey>,
    timers: Timers<KeyId>,
    /// The number of busy keys of all shards.
    count: Arc<AtomicUsize>,
}

impl GuardedKeys {
    pub(super) fn new(can_be_locked: bool, wait: Duration, count: Arc<AtomicUsize>) -> Self {
        Self {
            can_be_locked,
            wait,
            lines: GuardedLines::default(),
            under_way: SeededMap::default(),
            busy: SeededMap::default(),
            timers: Timers::default(),
            count,
        }
    }

    /// Whether a write has to be committed alone.
    pub(super) fn takes(&self, write: &Write) -> bool {
        self.can_be_locked && write.change.needs_guard_rows()
    }

    /// Adds a decided task.
    pub(super) fn push(&mut self, write: Write, task: DecidedTask) {
        if self.busy.contains_key(&task.key_task.id) {
            self.lines.push_retry(write, task);
        } else {
            self.lines.push(write, task);
        }
    }

    /// Whether a tenant's urgent commands stay in the intake.
    pub(super) fn is_full_of_urgent(&self, tenant: &Tenant) -> bool {
        self.lines.is_full_of_urgent(tenant)
    }

    /// Whether a tenant's other commands that write stay in the intake.
    pub(super) fn is_full(&self, tenant: &Tenant) -> bool {
        self.lines.is_full(tenant)
    }

    /// Takes the next task to be committed. The flag says whether to search thoroughly for the session that keeps the
    /// guard row locked. `None` if there is no task, or if the maximum number of commits is under way.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Batch, bool)> {
        if self.under_way.len() >= MOST_COMMITS {
            return None;
        }
        let under_way = self.under_way.values().flatten();
        let retries = under_way.filter(|task| self.busy.contains_key(&task.key_task.id)).count();
        let retry = if retries < MOST_RETRIES { self.lines.pop_retry() } else { None };
        let (write, task) = retry.or_else(|| self.lines.pop())?;
        // A row that is found locked for the first time is mostly free a moment later, so no search is made.
        let searches = match self.busy.get_mut(&write.change.id) {
            Some(key) if key.searched.is_none_or(|at| now.duration_since(at) >= key.search_every()) => {
                key.searched = Some(now);
                true
            }
            Some(_) | None => false,
        };
        Some((Batch { writes: vec![write], tasks: vec![task] }, searches))
    }

    /// Notes that a task was sent.
    pub(super) fn note_sent(&mut self, number: u64, tasks: Vec<DecidedTask>) {
        self.under_way.insert(number, tasks);
    }

    /// Removes and returns the task of a commit that came back.
    pub(super) fn take_commit(&mut self, number: u64) -> Option<Vec<DecidedTask>> {
        self.under_way.remove(&number)
    }

    /// All tasks that wait for their commit or are part of one.
    pub(super) fn key_tasks(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        let under_way = self.under_way.values_mut().flatten().map(|task| &mut task.key_task);
        self.lines.key_tasks().chain(under_way)
    }

    /// The slots and session found for a locked guard row; `None` once the row is to be tried again with all commands
    /// of its key.
    pub(super) fn busy(&self, id: &KeyId) -> Option<&GuardBusy> {
        if self.busy.is_empty() {
            return None;
        }
        let is_left_alone = |key: &&BusyKey| Instant::now() < key.again || !key.waiting.is_empty();
        self.busy.get(id).filter(is_left_alone).map(|key| &key.busy)
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
        let busy_keys = u32::try_from(self.busy.len()).unwrap_or(u32::MAX);
        let longest = LONGEST_PAUSE.max(PAUSE_PER_KEY.saturating_mul(busy_keys));
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
        self.busy.entry(id.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
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
        let Some(key) = self.busy.get_mut(id) else { return };
        self.timers.stop(key.timer);
        let deadline = key.waiting.iter().map(|(until, _)| *until).min();
        let at = deadline.map_or(key.again, |until| until.min(key.again));
        key.timer = self.timers.set(at, id.clone());
    }

    /// When [`GuardedKeys::pop_due`] has something to do.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.timers.next_at()
    }

    /// Removes and returns the next key whose timer is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<DueKey> {
        loop {
            let id = self.timers.pop_due(now)?;
            let Some(key) = self.busy.get_mut(&id) else { continue };
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
        if self.busy.is_empty() {
            return Vec::new();
        }
        let Some(key) = self.busy.remove(id) else { return Vec::new() };
        self.count.fetch_sub(1, Ordering::Relaxed);
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
        self.busy.values_mut().flat_map(of_key).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::domain::{Key, Tenant};

    fn id(number: usize) -> KeyId {
        let (tenant, key) = (Tenant::new("default").unwrap(), Key::new(&number.to_string()).unwrap());
        KeyId { tenant, key }
    }

    /// Guards against a database kept busy by tries for keys that all wait for the same transaction.
    #[test]
    fn many_busy_keys_together_are_not_tried_more_often_than_few() {
        for (busy, most_in_a_minute) in [(10, 10 * 4 * 60), (400, 6_000)] {
            let mut keys = GuardedKeys::new(true, Duration::ZERO, Arc::default());
            let begin = Instant::now();
            for number in 0..busy {
                keys.note_busy(&id(number), GuardBusy::default(), begin);
            }
            let mut tries = 0;
            for second in 1..=120 {
                let now = begin + Duration::from_secs(second);
                for millisecond in 0..1_000 {
                    let now = now + Duration::from_millis(millisecond);
                    while let Some(due) = keys.pop_due(now) {
                        tries += usize::from(second > 60);
                        keys.note_busy(&due.id, GuardBusy::default(), now);
                    }
                }
            }
            let least = most_in_a_minute * 9 / 10;
            assert!((least..=most_in_a_minute + busy).contains(&tries), "{busy}: {tries}");
        }
    }
}
