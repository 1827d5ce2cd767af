//! The streams of an HTTP/2 connection, which all run in the connection's task.
//!
//! So the end of a connection ends its requests, and the last bytes of an answer are passed to the connection and written in one
//! step, as with HTTP/1.1: a flush then covers exactly the answers so far.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

use super::turns::{Busy, Turns};

/// The time limit for a client to read a whole answer. With HTTP/2 the client controls the flow, and could stop it forever.
const TAKEN_WITHIN: Duration = Duration::from_mins(2);

/// When the answer to a request was ready.
pub(super) type Answered = Arc<OnceLock<Instant>>;

/// Takes new streams from hyper.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<New>>);

#[derive(Default)]
struct New {
    streams: Vec<Stream>,
    /// The request that hyper has passed on and not spawned a stream for yet. It does one right after the other.
    answered: Answered,
}

impl Streams {
    fn new_ones(&self) -> MutexGuard<'_, New> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request whose stream is spawned next.
    pub(super) fn request(&self) -> Answered {
        let answered = Answered::default();
        self.new_ones().answered = Arc::clone(&answered);
        answered
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let mut new = self.new_ones();
        let answered = std::mem::take(&mut new.answered);
        new.streams.push(Stream { future: Box::pin(future), answered, deadline: None });
    }
}

/// A stream. It ends if its client does not read the answer in time.
struct Stream {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    answered: Answered,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(answered) = this.answered.get() else { return Poll::Pending };
        this.deadline.get_or_insert_with(|| Box::pin(sleep_until(*answered + TAKEN_WITHIN))).as_mut().poll(cx)
    }
}

/// The streams that run.
pub(super) struct Running {
    streams: FuturesUnordered<Stream>,
    busy: Busy,
}

impl Running {
    /// No streams yet.
    pub(super) fn new(turns: Turns) -> Self {
        Self { streams: FuturesUnordered::new(), busy: Busy::new(turns) }
    }

    /// Polls the streams, then the connection, which writes their answers. New streams that are too many for a turn wait for the next one.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        streams: &Streams,
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            let mut turn = ready!(self.busy.poll_turn(cx));
            let has_more = loop {
                while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
                let polled = connection(cx);
                if polled.is_ready() {
                    return polled;
                }
                let new = &mut streams.new_ones().streams;
                let admitted = turn.admit(new.len());
                if admitted == 0 {
                    break !new.is_empty();
                }
                self.streams.extend(new.drain(..admitted));
            };
            self.busy.end(turn, has_more);
            if !has_more {
                return Poll::Pending;
            }
        }
    }
}
