//! Closes a connection whose client may still be sending.
//!
//! Closing a socket with unread bytes resets it, and the reset destroys the part of the answer that the client has not read. So the
//! writing side is closed first, and what still arrives is read and discarded until the client closes its side.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

use super::turns::Work;

/// The time limit for the client to close its side.
const LONGEST: Duration = Duration::from_secs(2);
/// The most bytes to read and discard.
const MOST_BYTES: usize = 4 << 20;

/// Reads and discards what still arrives.
#[derive(Debug)]
pub(super) struct Linger {
    /// What the connection has read and written in its turn.
    work: Work,
    timer: Option<Pin<Box<Sleep>>>,
    read: usize,
}

impl Linger {
    /// A connection that has not been closed.
    pub(super) const fn new(work: Work) -> Self {
        Self { work, timer: None, read: 0 }
    }

    /// Ready when the client has closed its side, or a limit is reached.
    pub(super) fn poll(&mut self, mut from: Pin<&mut impl AsyncRead>, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(LONGEST)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; 4_096];
        loop {
            ready!(self.work.poll_room(cx));
            let mut buffer = ReadBuf::new(&mut space);
            match from.as_mut().poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && self.read < MOST_BYTES => {
                    self.read += buffer.filled().len();
                    self.work.add(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}
