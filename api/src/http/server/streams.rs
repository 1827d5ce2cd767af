//! The streams of an HTTP/2 connection, which all run in the connection's task.
//!
//! So the end of a connection ends its requests. The last bytes of an answer are passed to the connection, which reads before it writes: the
//! answers of streams that their clients have reset are dropped unwritten, and a connection that its client has closed drops all of them.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    connection_memory::Counted,
    turns::{Busy, Turns, Work},
};
use crate::http::connection::Party;

/// The time limit for a client to read a whole answer. With HTTP/2 the client controls the flow, and could stop it forever.
const TAKEN_WITHIN: Duration = Duration::from_mins(2);

/// When the answer to a request was ready.
pub(super) type Answered = Arc<OnceLock<Instant>>;

/// The new streams of a connection. They end with it, those that still wait for a turn too.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<New>>);

/// Takes new streams from hyper, which also keeps one in each stream: so it must not keep the streams alive.
#[derive(Clone)]
pub(super) struct Spawner(Weak<Mutex<New>>);

#[derive(Default)]
struct New {
    streams: Vec<Stream>,
    /// The request that hyper has passed on and not spawned a stream for yet. It does one right after the other.
    answered: Answered,
    /// Counts its memory.
    memory: Option<Counted>,
}

fn lock(new: &Mutex<New>) -> MutexGuard<'_, New> {
    new.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    fn new_ones(&self) -> MutexGuard<'_, New> {
        lock(&self.0)
    }

    /// Adds streams to these.
    pub(super) fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Notes a request whose stream is spawned next. `memory` counts it until the stream has ended.
    pub(super) fn request(&self, memory: Option<Counted>) -> Answered {
        let answered = Answered::default();
        let mut new = self.new_ones();
        new.answered = Arc::clone(&answered);
        new.memory = memory;
        answered
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        // The connection has ended otherwise.
        let Some(new) = self.0.upgrade() else { return };
        let mut new = lock(&new);
        let (answered, memory) = (std::mem::take(&mut new.answered), new.memory.take());
        new.streams.push(Stream { future: Box::pin(future), answered, deadline: None, memory });
    }
}

/// A stream. It ends if its client does not read the answer in time.
struct Stream {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    answered: Answered,
    deadline: Option<Pin<Box<Sleep>>>,
    memory: Option<Counted>,
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let answered = this.answered.get();
        if let Some(memory) = &mut this.memory {
            memory.set_waits(answered.is_none());
        }
        let Some(answered) = answered else { return Poll::Pending };
        this.deadline.get_or_insert_with(|| Box::pin(sleep_until(*answered + TAKEN_WITHIN))).as_mut().poll(cx)
    }
}

/// The streams that run.
pub(super) struct Running {
    streams: FuturesUnordered<Stream>,
    busy: Busy,
}

impl Running {
    /// No streams yet. The connection's socket counts the `work`.
    pub(super) fn new(turns: Turns, work: Work) -> Self {
        Self { streams: FuturesUnordered::new(), busy: Busy::until_known(turns, work) }
    }

    /// Polls the streams, then the connection, which writes their answers. New streams that are too many for a turn wait for the next one.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        streams: &Streams,
        parties: impl Fn() -> [Party; 2],
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            // A request of the last turn may have shown whose turns these are.
            self.busy.set_party(parties());
            let mut turn = ready!(self.busy.poll_turn(cx));
            let has_more = loop {
                while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
                let polled = connection(cx);
                if polled.is_ready() {
                    self.busy.end(turn, false);
                    return polled;
                }
                let new = &mut streams.new_ones().streams;
                let admitted = turn.admit(new.len());
                let are_left = admitted < new.len();
                self.streams.extend(new.drain(..admitted));
                // The streams that were just admitted begin in the next turn.
                if self.busy.has_more() {
                    break true;
                }
                if admitted == 0 {
                    break are_left;
                }
            };
            self.busy.end(turn, has_more);
            if !has_more {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::task::noop_waker_ref;

    use super::*;

    /// h2 itself answers malformed heads, so they are no requests of a turn.
    #[tokio::test]
    async fn a_turn_ends_when_the_connection_has_read_enough() {
        let turns = Turns::new(1);
        let mut other = Busy::until_known(turns.clone(), Work::default());
        let mut cx = Context::from_waker(noop_waker_ref());
        let streams = Streams::default();
        let work = Work::default();
        let mut running = Running::new(turns, work.clone());
        let mut polls = 0;
        let polled = running.poll(
            &mut cx,
            &streams,
            || [Party::UNKNOWN; 2],
            |cx| {
                polls += 1;
                work.end_turn(cx);
                streams.spawner().execute(pending());
                assert!(other.poll_turn(cx).is_pending(), "this one has the turn");
                Poll::<()>::Pending
            },
        );
        assert!(polled.is_pending());
        assert!(other.poll_turn(&mut cx).is_ready());
        assert_eq!(polls, 1);
    }

    /// The next turn of the thread's tasks must not come too early.
    #[tokio::test]
    async fn the_turn_in_which_a_connection_ends_counts() {
        let (streams, work) = (Streams::default(), Work::default());
        let mut running = Running::new(Turns::new(1), work.clone());
        let end = |cx: &mut Context<'_>| {
            work.end_turn(cx);
            Poll::Ready(())
        };
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(running.poll(&mut cx, &streams, || [Party::UNKNOWN; 2], end).is_ready());
        assert!(!work.has_more(), "what the turn did was counted");
    }

    /// hyper keeps a spawner in each stream.
    #[test]
    fn a_connection_that_ends_ends_the_streams_that_wait_for_a_turn() {
        let streams = Streams::default();
        let spawner = streams.spawner();
        let request = Arc::new(());
        let own = (Arc::clone(&request), spawner.clone());
        spawner.execute(async move {
            pending::<()>().await;
            drop(own);
        });
        assert_eq!(Arc::strong_count(&request), 2);
        drop(streams);
        assert_eq!(Arc::strong_count(&request), 1, "the request is gone");
        let late = Arc::clone(&request);
        spawner.execute(async move { drop(late) });
        assert_eq!(Arc::strong_count(&request), 1, "nothing runs on a connection that has ended");
    }
}
