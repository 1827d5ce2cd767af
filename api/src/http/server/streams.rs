//! The streams of an HTTP/2 connection, all in the connection's own task.
//!
//! So a connection that ends takes its requests with it, and an answer's last bytes are handed to the connection and written in
//! one go, as with HTTP/1.1: what was flushed then is what was answered.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take to take an answer whole. With HTTP/2 it says how much it takes, and could take nothing for ever.
const TAKEN_WITHIN: Duration = Duration::from_mins(2);

/// When the answer to a request was ready.
pub(super) type Answered = Arc<OnceLock<Instant>>;

/// Takes new streams from hyper.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<New>>);

#[derive(Default)]
struct New {
    streams: Vec<Stream>,
    /// Of the request that hyper has handed out and not made a stream of yet: it does both at once.
    answered: Answered,
}

impl Streams {
    fn new_ones(&self) -> MutexGuard<'_, New> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come, whose stream comes next.
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

/// A stream, which ends when its client does not take its answer.
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
#[derive(Default)]
pub(super) struct Running(FuturesUnordered<Stream>);

impl Running {
    /// Polls the streams, then their connection, which writes what they answered.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        streams: &Streams,
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            while let Poll::Ready(Some(())) = self.0.poll_next_unpin(cx) {}
            let polled = connection(cx);
            let new = std::mem::take(&mut streams.new_ones().streams);
            if polled.is_ready() || new.is_empty() {
                return polled;
            }
            self.0.extend(new);
        }
    }
}
