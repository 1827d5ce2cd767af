//! The socket of a client. Reads and writes have time limits, and a hang-up is noticed.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use db_locks_service::LogLimit;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    connection_memory::ConnectionMemory,
    control_frames::ControlFrames,
    hang_up::HangUp,
    input::InputCheck,
    linger::Linger,
    remembered_heads::RememberedHeads,
    timers::{HeadTimer, StallTimer},
    transport::Transport,
    turns::{Turns, Work},
};
use crate::http::connection::Connection;

static SLOW_READERS: LogLimit = LogLimit::new();

/// The socket of a client.
///
/// hyper notices a hang-up only while it reads. It does not read while it answers a request and has bytes of another one in its
/// buffer. Then this stream checks for a hang-up itself, at each flush, which hyper does whenever it is polled.
#[derive(Debug)]
pub(super) struct ClientStream {
    transport: Transport,
    connection: Arc<Connection>,
    is_http2: bool,
    /// Whether the last read left hyper waiting for more bytes. Then hyper notices a hang-up by itself.
    waits_for_bytes: bool,
    /// The number of requests before the next head.
    answered: usize,
    head_timer: HeadTimer,
    /// With HTTP/1.1.
    input: InputCheck,
    /// With HTTP/2.
    control_frames: ControlFrames,
    /// With HTTP/2.
    remembered: RememberedHeads,
    turns: Turns,
    /// What the connection has read and written in its turn.
    work: Work,
    stall_timer: StallTimer,
    linger: Linger,
    hang_up: HangUp,
}

impl ClientStream {
    /// The stream of a new connection.
    pub(super) fn new(
        transport: Transport,
        connection: Arc<Connection>,
        is_http2: bool,
        (turns, work): (Turns, Work),
        memory: Arc<ConnectionMemory>,
    ) -> Self {
        let now = Instant::now();
        Self {
            transport,
            connection,
            is_http2,
            waits_for_bytes: false,
            answered: 0,
            head_timer: HeadTimer::new(now),
            input: InputCheck::default(),
            control_frames: ControlFrames::new(now),
            remembered: RememberedHeads::new(memory),
            turns,
            linger: Linger::new(work.clone()),
            work,
            stall_timer: StallTimer::default(),
            hang_up: HangUp::new(now),
        }
    }

    /// Checks for a hang-up while hyper does not.
    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Without a request in flight hyper reads next.
        if self.waits_for_bytes || !self.connection.requests().is_busy() {
            self.hang_up.stop_checking();
            return Ok(());
        }
        self.hang_up.check_behind_bytes(&self.transport, cx)
    }

    /// Refuses to write the end of a grant's answer to a connection that is closed.
    ///
    /// This is checked before the write and never after it: a client that has its answer may close at once and still own the
    /// grant.
    fn check_open(&self) -> io::Result<()> {
        if self.connection.unconfirmed().exist() && self.hang_up.has_come(&self.transport) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// Notes that the answers of grants are written: with HTTP/1.1 when all bytes are, and with HTTP/2 when some are.
    ///
    /// With HTTP/2 an answer may be written although others behind it are not. If the connection ended then, its client could have read its
    /// whole grant, so it must not be given back. The client may have a part of its answer only, or none: then its lease ends the grant.
    fn note_written(&self) {
        if self.connection.unconfirmed().exist() {
            self.connection.unconfirmed().written();
        }
    }

    /// Ready when a write has stalled for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.stall_timer.poll_expired(cx));
        if let Some(left_out) = SLOW_READERS.pass() {
            tracing::warn!(left_out, "a client does not read its answer; its connection is closed");
        }
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Checks the bytes that were read behind the first `before` ones.
    fn check(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let come = &buffer.filled()[before..];
        if self.is_http2 {
            let are_too_many = self.control_frames.are_too_many(come, self.hang_up.last_read());
            let longest_head = self.control_frames.longest_head();
            self.connection.set_longest_head(longest_head);
            self.remembered.count(come.len(), longest_head, &self.connection);
            if let Some(requests) = self.control_frames.work.take_requests() {
                self.turns.note(requests);
            }
            return if are_too_many { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) };
        }
        // Bytes that arrive while no request is in flight belong to a head.
        if !come.is_empty() && !self.connection.requests().is_busy() {
            self.head_timer.head_began(self.hang_up.last_read());
        }
        let checked = self.input.check(buffer, before);
        if self.input.has_refused() {
            // The client may still be sending the rest.
            self.connection.leave_body();
        }
        checked
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.input.has_refused() {
            return Poll::Ready(this.input.read_refusal(buffer));
        }
        if this.work.has_more() {
            // The turn is over. h2 asks again for each request that it has read before.
            return Poll::Pending;
        }
        if this.control_frames.work.ends_turn() {
            this.work.end_long_turn(cx);
            return Poll::Pending;
        }
        ready!(this.work.poll_room(cx));
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.transport).poll_read(cx, buffer);
        if read.is_pending() && this.work.has_more() {
            // TLS has read many records.
            return Poll::Pending;
        }
        this.waits_for_bytes = read.is_pending();
        if read.is_ready() {
            let bytes = buffer.filled().len() - before;
            this.hang_up.read(bytes);
            this.work.add(bytes);
            return read.map(|read| read.and_then(|()| this.check(buffer, before)));
        }
        this.control_frames.work.all_read();
        if this.connection.requests().is_busy() {
            return Poll::Pending;
        }
        let requests = this.connection.requests().arrived();
        if requests != this.answered {
            this.answered = requests;
            this.head_timer.answered(Instant::now());
        }
        this.head_timer.poll_overdue(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.check_open()?;
        ready!(this.work.poll_room(cx));
        match Pin::new(&mut this.transport).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => {
                this.work.add(written);
                this.stall_timer.progress(written);
                if this.is_http2 {
                    this.control_frames.written(written);
                    this.note_written();
                }
                Poll::Ready(Ok(written))
            }
            Poll::Pending => this.poll_stalled(cx).map(Err),
            failed @ Poll::Ready(_) => failed,
        }
    }

    /// hyper flushes when it has written all that it had, and whenever it is polled.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if Pin::new(&mut this.transport).poll_flush(cx)?.is_pending() {
            return this.poll_stalled(cx).map(Err);
        }
        this.stall_timer.all_written();
        this.note_written();
        this.poll_hung_up(cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.transport).poll_shutdown(cx))?;
        if this.connection.has_left_body() && !this.is_http2 {
            ready!(this.linger.poll(Pin::new(&mut this.transport), cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.connection.unconfirmed().ended();
    }
}

#[cfg(test)]
mod tests;
