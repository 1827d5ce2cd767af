//! The end of a connection whose client may still be sending.
//!
//! A socket that is closed with bytes that nobody read is reset, and the reset destroys what its client has not read of the answer.
//! So the answer's end is sent first, and what still comes is read and thrown away, until the client closes its side.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a client may take to close its side.
const LONGEST: Duration = Duration::from_secs(2);
/// The most bytes that are read of what it still sends.
const MOST_BYTES: usize = 4 << 20;

/// Reads what still comes.
#[derive(Debug, Default)]
pub(super) struct Linger {
    timer: Option<Pin<Box<Sleep>>>,
    read: usize,
}

impl Linger {
    /// Ready when the client has closed its side, or has had time and room enough.
    pub(super) fn poll(&mut self, mut from: Pin<&mut impl AsyncRead>, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(LONGEST)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; 4_096];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match from.as_mut().poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && self.read < MOST_BYTES => {
                    self.read += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}
