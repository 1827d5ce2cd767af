//! Turns: busy connections are polled one after the other, so that other tasks need not wait for all of them.
//!
//! The task of a connection answers everything that has arrived. With one request that is short; with HTTP/2 a client can have a
//! thousand under way. The runtime polls tasks in the order in which they were woken. So with thousands of such clients every
//! other task would wait for seconds, and a heartbeat, which takes several tasks, several times.
//!
//! A connection that gets many requests at once is busy. A busy connection is polled only in its turn. There are as many turns at
//! a time as threads, and connections take them in the order in which they asked. After a number of requests in such turns
//! everything else that is ready is polled first. Nothing is refused or delayed for that: a thread that has nothing else to do
//! takes one turn after the other.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

/// The most requests at once of a connection that is not busy.
const FEW: usize = 2;
/// The most requests of a turn. The connection asks for another turn for the rest.
const MOST: usize = 128;
/// The number of requests in turns after which a thread polls everything else. About a millisecond.
const IN_A_ROW: usize = 64;
/// The number of polls with few requests after which a connection is no longer busy.
const BUSY_FOR: u32 = 32;

thread_local! {
    /// The number of requests in turns since this thread has polled everything else.
    static ANSWERED: Cell<usize> = const { Cell::new(0) };
}

/// The turns of all connections.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    /// Turns on this number of threads.
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))))
    }
}

/// The permission to answer requests. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// `None` if the connection is not busy.
    permit: Option<OwnedSemaphorePermit>,
    requests: usize,
}

impl Turn {
    /// The number of these `requests` that may be answered now.
    pub(super) fn admit(&mut self, requests: usize) -> usize {
        let admitted = match &self.permit {
            Some(_) => requests.min(MOST - self.requests),
            None if self.requests + requests <= FEW => requests,
            None => 0,
        };
        self.requests += admitted;
        admitted
    }
}

/// The state of one connection.
pub(super) struct Busy {
    turns: Turns,
    /// The number of polls for which the connection counts as busy.
    left: u32,
    /// The next turn, once it was asked for.
    next: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>>,
}

impl Busy {
    /// A new connection is not busy.
    pub(super) fn new(turns: Turns) -> Self {
        Self { turns, left: 0, next: None }
    }

    /// Ready when the connection may be polled.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if self.left == 0 {
            return Poll::Ready(Turn { permit: None, requests: 0 });
        }
        let turns = &self.turns.0;
        let is_due = || ANSWERED.get() >= IN_A_ROW;
        if self.next.is_none()
            && !is_due()
            && let Ok(permit) = Arc::clone(turns).try_acquire_owned()
        {
            return Poll::Ready(Turn { permit: Some(permit), requests: 0 });
        }
        let next = self.next.get_or_insert_with(|| {
            let turns = Arc::clone(turns);
            Box::pin(async move {
                // The semaphore is never closed.
                let permit = turns.acquire_owned().await.ok();
                if is_due() {
                    // This comes back when all ready tasks were polled or a number of them, and after a look at all sockets.
                    yield_now().await;
                    ANSWERED.set(0);
                }
                permit
            })
        });
        let permit = ready!(next.as_mut().poll(cx));
        self.next = None;
        Poll::Ready(Turn { permit, requests: 0 })
    }

    /// Ends a turn, with requests left or without.
    pub(super) fn end(&mut self, turn: Turn, has_more: bool) {
        let Turn { permit, requests } = turn;
        if permit.is_some() {
            // A turn without requests may have written answers.
            ANSWERED.set(ANSWERED.get() + requests.max(1));
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
