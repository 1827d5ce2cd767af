//! Notices that a client has hung up, where hyper and the runtime do not know it yet.

use std::{io, pin::Pin, task::Context, time::Duration};

use tokio::time::{Instant, Sleep, sleep};

use super::transport::Transport;

/// If the last read is older than this, the kernel is asked whether the connection is still open before a grant counts as
/// delivered. The runtime's knowledge is recent enough otherwise: a caller that has waited for its lock may have hung up, and
/// on a busy machine the runtime does not know it yet.
const RECENT_READ: Duration = Duration::from_millis(2);

/// The interval of checks for a hang-up behind bytes that hyper does not read.
const CHECK_PERIOD: Duration = Duration::from_millis(200);

/// Whether a client has hung up.
#[derive(Debug)]
pub(super) struct HangUp {
    last_read: Instant,
    /// Whether the client has closed its side, and hyper has read that.
    is_read: bool,
    /// Runs while the kernel has bytes that hyper does not read.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HangUp {
    /// A new connection is open.
    pub(super) const fn new(now: Instant) -> Self {
        Self { last_read: now, is_read: false, timer: None }
    }

    /// Notes that so many bytes were read; 0 at the end.
    pub(super) fn read(&mut self, bytes: usize) {
        self.last_read = Instant::now();
        self.is_read = bytes == 0;
    }

    /// When bytes were last read.
    pub(super) const fn last_read(&self) -> Instant {
        self.last_read
    }

    /// Whether the client has hung up. The kernel is asked if the last read is not recent.
    pub(super) fn has_come(&self, transport: &Transport) -> bool {
        self.is_read || self.last_read.elapsed() > RECENT_READ && transport.is_closed()
    }

    /// Checks now and then for a hang-up behind bytes that hyper does not read.
    pub(super) fn check_behind_bytes(
        &mut self,
        transport: &Transport,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        // If the kernel has no bytes now, this registers the task for the next ones.
        if transport.tcp().poll_read_ready(cx)?.is_pending() {
            return Ok(());
        }
        loop {
            if transport.is_closed() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(CHECK_PERIOD)));
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.timer = None;
        }
    }

    /// Ends these checks: hyper reads next.
    pub(super) fn stop_checking(&mut self) {
        self.timer = None;
    }

    /// Acts as if the last read was longer ago.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        self.last_read -= by;
    }
}
