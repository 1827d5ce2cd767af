//! Turns: if many connections have requests at once, they are polled one after the other, so that other tasks need not wait for all of
//! them.
//!
//! The task of a connection answers everything that has arrived, and the runtime polls tasks in the order in which they were woken. So
//! with thousands of clients, or with a thousand requests under way on each connection, every other task would wait for seconds. A
//! heartbeat takes several tasks one after the other, so it would wait several times.
//!
//! There are two lines. A connection that gets many requests at once is busy, and takes its turn in the line of the busy ones. The other
//! connections wait in a line only if a thread has polled so many of them in a row that everything else has waited for long. In each line
//! there are as many turns at a time as threads. Tenants have equal shares of them. Clients without a valid credential have one together,
//! and those that need it equal parts of it, by their addresses.
//! Among the connections of a tenant the next turn is for the one whose last request or turn is the longest ago. So a tenant with a
//! heartbeat now and then does not wait for those that send one request after the other, neither with the request nor with the answer.
//! After a number of requests in turns everything else that is ready is polled first. Nothing is refused or delayed for
//! that: a thread that has nothing else to do takes one turn after the other.
//!
//! Bytes count, too: a turn counts as so many requests as take as long as its bytes, if that is more. A turn with very many bytes ends
//! before all are read or written, and the connection is busy then.
//!
//! A connection that begins has a line of its own, until it is known what protocol its client speaks. Until its first request it takes
//! the turns of newcomers, so it does not wait for those that have shown that they have no credential.

mod arrivals;
mod line;
mod parties;
mod queue;
mod start;
mod work;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

#[cfg(test)]
pub(super) use self::work::MOST_BYTES;
pub(super) use self::{
    arrivals::Arrivals,
    line::poll_everything_else,
    start::{PLAIN_START, TLS_START},
    work::Work,
};
use self::{
    line::{Entering, Line},
    queue::Permit,
};
use crate::http::connection::{Newcomers, Party};

/// The most requests at once of a connection that is not busy.
const FEW: usize = 2;
/// The most requests of a turn of a busy connection. The connection asks for another turn for the rest.
const MOST: usize = 128;
/// The most turns as a newcomer. The head of the first request may arrive in pieces.
const MOST_AS_NEWCOMER: u8 = 8;
/// The number of polls with few requests after which a connection is no longer busy.
const BUSY_FOR: u32 = 32;

/// The turns of all connections.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    /// The line of connections with few requests at once.
    few: Line,
    /// The line of busy connections.
    busy: Line,
    /// The line of connections that begin.
    new: Line,
    /// The number of turns that have ended: the time by which connections wait. It stands still while nobody needs turns.
    time: Arc<AtomicU64>,
    /// Whose turns new connections take.
    newcomers: Arc<Newcomers>,
}

impl Turns {
    /// Turns on this number of threads.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            few: Line::of_few(threads),
            busy: Line::of_busy(threads),
            new: Line::of_new(threads),
            time: Arc::default(),
            newcomers: Arc::default(),
        }
    }

    /// Whose turns new connections take.
    pub(super) const fn newcomers(&self) -> &Arc<Newcomers> {
        &self.newcomers
    }

    /// Notes that a thread was busy for as long as this number of requests takes, with something else than requests.
    pub(super) fn note(&self, requests: usize) {
        self.few.answered(requests, false);
        self.busy.answered(requests, true);
    }
}

/// The permission to answer requests. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    is_busy: bool,
    /// `None` if the connection did not wait in a line.
    permit: Option<Permit>,
    requests: usize,
}

impl Turn {
    /// The number of these `requests` that may be answered now.
    pub(super) fn admit(&mut self, requests: usize) -> usize {
        let admitted = if self.is_busy {
            requests.min(MOST - self.requests)
        } else if self.requests + requests <= FEW {
            requests
        } else {
            0
        };
        self.requests += admitted;
        admitted
    }
}

/// The state of one connection.
pub(super) struct Busy {
    turns: Turns,
    /// What the connection has read and written in its turn.
    work: Work,
    /// The number of polls for which the connection counts as busy.
    left: u32,
    /// The time of the last request or turn.
    last: u64,
    /// Whose turns these are.
    party: Party,
    /// The number of its turns as a newcomer.
    as_newcomer: u8,
    /// The next turn, once it was asked for.
    next: Option<Entering>,
}

impl Busy {
    /// A new connection is not busy. Its socket counts the `work`.
    pub(super) fn new(turns: Turns, work: Work) -> Self {
        let last = turns.time.load(Ordering::Relaxed);
        Self { turns, work, left: 0, last, party: Party::UNKNOWN, as_newcomer: 0, next: None }
    }

    /// A new connection that counts as busy until it has had some polls with few requests. With HTTP/2 a thousand requests can
    /// arrive before the first poll, and more that h2 refuses.
    pub(super) fn until_known(turns: Turns, work: Work) -> Self {
        Self { left: BUSY_FOR, ..Self::new(turns, work) }
    }

    /// Sets whose turns these are, and whose if the connection has been a newcomer for too long.
    pub(super) const fn set_party(&mut self, [party, unknown]: [Party; 2]) {
        let is_late = self.as_newcomer >= MOST_AS_NEWCOMER && party.are_newcomers();
        self.party = if is_late { unknown } else { party };
    }

    /// Whether the connection has read or written as much as it may in its turn, and there may be more.
    pub(super) fn has_more(&self) -> bool {
        self.work.has_more()
    }

    /// Polls a connection in its turn. `requests` counts the requests that it has received.
    pub(super) fn poll_in_turn<T>(
        &mut self,
        cx: &mut Context<'_>,
        requests: impl Fn() -> usize,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut turn = ready!(self.poll_turn(cx));
        let before = requests();
        let polled = poll(cx);
        turn.requests = requests() - before;
        self.end(turn, self.has_more());
        polled
    }

    /// Ready when the connection may be polled.
    #[inline]
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let is_busy = self.left > 0;
        let turn = |permit| Poll::Ready(Turn { is_busy, permit, requests: 0 });
        let line = if is_busy { &self.turns.busy } else { &self.turns.few };
        if self.next.is_none() && !is_busy && line.is_short() {
            return turn(None);
        }
        let permit = ready!(line.poll_enter(&mut self.next, (self.party, self.last), cx));
        turn(Some(permit))
    }

    /// Ends a turn, with requests left or without.
    #[inline]
    pub(super) fn end(&mut self, turn: Turn, has_more: bool) {
        let Turn { is_busy, requests, mut permit } = turn;
        let line = if is_busy { &self.turns.busy } else { &self.turns.few };
        let of_bytes = self.work.requests();
        self.work.clear();
        // A poll without requests may have written answers.
        let cost = requests.max(of_bytes).max(1);
        line.answered(cost, permit.is_some());
        if let Some(permit) = &mut permit {
            permit.cost = cost;
        }
        let time = &self.turns.time;
        if permit.is_some() {
            time.fetch_add(1, Ordering::Relaxed);
            self.as_newcomer += u8::from(self.party.are_newcomers());
        }
        // A turn counts even without a request. Otherwise a connection that reads a long body would always be the first.
        if requests > 0 || of_bytes > 0 || permit.is_some() {
            self.last = time.load(Ordering::Relaxed);
        }
        if has_more || requests > FEW {
            self.left = BUSY_FOR;
        } else if requests > 0 {
            self.left = self.left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
