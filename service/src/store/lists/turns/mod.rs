//! Turns of lists: each tenant has a line, and the lines take turns. So a tenant that asks for very many lists delays only its
//! own, and a few connections of the pool are enough for all of them.
//!
//! Fewer lists run at a time than the pool has connections. The rest is for changes of tokens, counts and sweeping.

mod lines;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::{Counter, counter, describe_counter};
use sea_orm::{DbErr, error::ConnAcquireErr};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use self::lines::{Lines, Name};
use crate::{
    apart::Caller,
    domain::Tenant,
    store::{StoreError, classify::overloaded},
};

/// How long a list waits for a turn.
const WAIT: Duration = Duration::from_secs(2);
/// How long a list runs while other tenants wait. Then it is interrupted, between two statements.
const SLICE: Duration = Duration::from_millis(50);
/// How long a page is read, with interruptions, if it can end with what was found so far.
const PAGE_FOR: Duration = Duration::from_secs(2);
/// How long a list runs in all. It is less than the time limit of an operation: a list that finds too much
/// to read is no outage of the database.
const LONGEST: Duration = Duration::from_millis(4_500);

const REFUSED: &str = "db_locks_refused_lists_total";

/// The turns of all lists.
#[derive(Debug)]
pub(in crate::store) struct Turns {
    /// Locked only to change the lines and to wake lists.
    lines: Mutex<Lines<oneshot::Sender<()>>>,
    /// How long a page is read.
    page_for: Duration,
    refused: Counter,
}

impl Turns {
    /// Turns over a pool with this number of connections.
    pub(in crate::store) fn new(connections: usize) -> Arc<Self> {
        Self::with_pages_of(PAGE_FOR, connections)
    }

    /// The same, with another time for which a page is read.
    pub(super) fn with_pages_of(page_for: Duration, connections: usize) -> Arc<Self> {
        describe_counter!(REFUSED, "Lists that were refused because they would wait or run for too long");
        let lines = Mutex::new(Lines::new(connections.saturating_sub(1)));
        Arc::new(Self { lines, page_for, refused: counter!(REFUSED) })
    }

    /// Waits for the turn of a tenant's list; `None` is for administrators of all tenants. If the caller gives up, the list ends
    /// while it waits, or between two statements.
    pub(in crate::store) async fn take(
        self: &Arc<Self>,
        tenant: Option<Tenant>,
        caller: Caller,
    ) -> Result<Turn, StoreError> {
        let (wake, woken) = oneshot::channel();
        let id = self.change(|lines| lines.join(&tenant, wake));
        let place = Place { turns: self, name: &tenant, id, woken };
        if !caller.unless_gone(place.woken(WAIT)).await {
            return Err(overloaded());
        }
        let since = Instant::now();
        Ok(Turn { turns: self.clone(), name: tenant, caller, taken: since, since, state: State::Running })
    }

    /// Changes the lines, and wakes the lists that may run now.
    fn change<T>(&self, change: impl FnOnce(&mut Lines<oneshot::Sender<()>>) -> T) -> T {
        let mut lines = self.lines();
        let result = change(&mut lines);
        while let Some(wake) = lines.next() {
            // A place leaves its line before its receiver is dropped, so somebody receives this.
            let _ = wake.send(());
        }
        result
    }

    fn lines(&self) -> MutexGuard<'_, Lines<oneshot::Sender<()>>> {
        // No change of the lines panics half-way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a line. If it is dropped, the next list gets its turn.
struct Place<'t> {
    turns: &'t Turns,
    name: &'t Name,
    id: u64,
    woken: oneshot::Receiver<()>,
}

impl Place<'_> {
    /// Waits for the turn; `false` if the list is refused. A turn begins only when this returns.
    async fn woken(mut self, within: Duration) -> bool {
        let is_woken = matches!(timeout(within, &mut self.woken).await, Ok(Ok(())));
        if !is_woken {
            self.turns.refused.increment(1);
        }
        is_woken
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let (name, id, woken) = (self.name, self.id, &mut self.woken);
        self.turns.change(|lines| {
            // Lists are woken under the lock, so a list that is in no line was woken, refused, or has its turn already.
            if !lines.leave(name, id) && woken.try_recv().is_ok() {
                lines.end(name);
            }
        });
    }
}

/// What a turn counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The list waits, or it was refused while it waited.
    Paused,
    /// The page is finished, and its caller has not taken it.
    Finished,
}

/// The turn of one list. It ends when it is dropped.
#[derive(Debug)]
pub(in crate::store) struct Turn {
    turns: Arc<Turns>,
    name: Name,
    caller: Caller,
    /// When the list got its turn.
    taken: Instant,
    /// The start of the current slice.
    since: Instant,
    state: State,
}

impl Turn {
    /// Whether the search for the rest of a page has taken long enough.
    pub(in crate::store) fn is_long(&self) -> bool {
        self.taken.elapsed() >= self.turns.page_for
    }

    /// Whether a page should end with the items that are ready, although others were found.
    pub(in crate::store) fn is_very_long(&self) -> bool {
        self.taken.elapsed() >= 2 * self.turns.page_for
    }

    /// Lets lists of other tenants run if they wait and this one has run for a while. Called between two statements. Fails if
    /// the list takes too long.
    pub(in crate::store) async fn let_others(&mut self) -> Result<(), DbErr> {
        self.caller.end_if_gone().await;
        let left = LONGEST.saturating_sub(self.taken.elapsed());
        if left.is_zero() {
            self.turns.refused.increment(1);
            return Err(too_long());
        }
        if self.since.elapsed() < SLICE {
            return Ok(());
        }
        let (wake, woken) = oneshot::channel();
        let Some(id) = self.turns.change(|lines| lines.pause(&self.name, wake)) else { return Ok(()) };
        self.state = State::Paused;
        let place = Place { turns: &self.turns, name: &self.name, id, woken };
        if !self.caller.unless_gone(place.woken(WAIT.min(left))).await {
            return Err(too_long());
        }
        (self.state, self.since) = (State::Running, Instant::now());
        Ok(())
    }

    /// Ends the turn, since the page is finished. The page counts until the caller takes it and drops this value.
    pub(in crate::store) fn finish(mut self) -> Self {
        if self.state == State::Running {
            self.turns.change(|lines| lines.finish(&self.name));
            self.state = State::Finished;
        }
        self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self.state {
            State::Running => self.turns.change(|lines| lines.end(&self.name)),
            State::Paused => {}
            State::Finished => self.turns.change(|lines| lines.taken(&self.name)),
        }
    }
}

/// The error of the pools for a request that gets no connection. It is no outage of the database.
const fn too_long() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)
}

#[cfg(test)]
mod tests;
