//! The socket of a client: reads and writes that do not wait for ever, and notice when the client hangs up.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use db_locks_service::LogLimit;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{
    head_lines::HeadLines,
    linger::Linger,
    settings::SettingsCount,
    timers::{HeadTimer, StallTimer},
    transport::Transport,
};
use crate::http::connection::Connection;

static SLOW_READERS: LogLimit = LogLimit::new();

/// How long an answer may have taken for the readiness known to the runtime to be recent enough; for a longer one the
/// kernel is asked whether the connection is still open before its grant counts as delivered.
const RECENT: Duration = Duration::from_millis(20);

/// How often a connection is looked at while bytes that nobody reads stand before a possible hang-up.
const LOOK: Duration = Duration::from_millis(200);

/// What is given to hyper in place of a head with bare line feeds: it is refused as any other malformed head.
const MALFORMED: &[u8] = b"\0\r\n\r\n";

/// The socket of a client.
///
/// hyper notices by itself that a caller hung up, but only while it reads, and it does not read while a request is being
/// answered and bytes of another one are in its buffer. Then this looks by itself, whenever hyper flushes: which it does
/// whenever it is polled.
#[derive(Debug)]
pub(super) struct ClientStream {
    transport: Transport,
    connection: Arc<Connection>,
    /// With HTTP/2, hyper tells where heads begin and end.
    is_http2: bool,
    /// Whether the last read left hyper waiting for more: then it learns of a hang-up by itself.
    waits_for_bytes: bool,
    /// When bytes last came.
    last_read: Instant,
    /// The requests before the head that is waited for.
    answered: usize,
    head_timer: HeadTimer,
    head_lines: HeadLines,
    /// With HTTP/2.
    settings: SettingsCount,
    stall_timer: StallTimer,
    linger: Linger,
    /// Runs while hyper does not read and the kernel has bytes for it.
    look_timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl ClientStream {
    /// The socket of a connection that was just accepted.
    pub(super) fn new(transport: Transport, connection: Arc<Connection>, is_http2: bool) -> Self {
        let now = Instant::now();
        Self {
            transport,
            connection,
            is_http2,
            waits_for_bytes: false,
            last_read: now,
            answered: 0,
            head_timer: HeadTimer::new(now),
            head_lines: HeadLines::default(),
            settings: SettingsCount::new(now),
            stall_timer: StallTimer::default(),
            linger: Linger::default(),
            look_timer: None,
        }
    }

    /// Looks for a hang-up where hyper does not.
    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Between two answers hyper reads next.
        if self.waits_for_bytes || !self.connection.is_busy() {
            self.look_timer = None;
            return Ok(());
        }
        // Registers the task for what arrives next, if the kernel has nothing for it now.
        if self.transport.tcp().poll_read_ready(cx)?.is_pending() {
            return Ok(());
        }
        loop {
            if is_closed(self.transport.tcp()) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let timer = self.look_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.look_timer = None;
        }
    }

    /// Refuses to write the end of a grant's answer to a connection that is closed.
    ///
    /// Looked at before the write and never after it: a client that has its answer may close at once, and then the grant
    /// is its own.
    fn check_open(&self) -> io::Result<()> {
        let is_stale = || self.last_read.elapsed() > RECENT;
        if self.connection.has_unconfirmed() && is_stale() && is_closed(self.transport.tcp()) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// Ready once a write has stood still for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.stall_timer.poll_expired(cx));
        if let Some(left_out) = SLOW_READERS.pass() {
            tracing::warn!(left_out, "a client does not read its answer; its connection is closed");
        }
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// What came is part of a head, unless a request is being answered.
    fn check_head(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let bytes = &buffer.filled()[before..];
        if bytes.is_empty() || self.is_http2 || self.connection.is_busy() {
            return;
        }
        self.head_timer.head_began(self.last_read);
        if self.head_lines.has_bare_line_feed(bytes) {
            buffer.set_filled(before);
            buffer.put_slice(&MALFORMED[..MALFORMED.len().min(buffer.remaining())]);
        }
    }
}

/// Whether the peer has closed its side, or the connection is broken, whatever is still to be read.
fn is_closed(tcp: &TcpStream) -> bool {
    let mut polled = [PollFd::new(tcp, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(gone)
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.transport).poll_read(cx, buffer);
        this.waits_for_bytes = read.is_pending();
        if read.is_ready() {
            this.last_read = Instant::now();
            let come = &buffer.filled()[before..];
            if this.is_http2 && this.settings.are_too_many(come, this.last_read) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            this.check_head(buffer, before);
            return read;
        }
        if this.connection.is_busy() {
            return Poll::Pending;
        }
        let requests = this.connection.requests();
        if requests != this.answered {
            this.answered = requests;
            this.head_lines = HeadLines::default();
            this.head_timer.answered(Instant::now());
        }
        this.head_timer.poll_overdue(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.check_open()?;
        match Pin::new(&mut this.transport).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => {
                this.stall_timer.progress(written);
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
        if this.connection.has_unconfirmed() {
            this.connection.written();
        }
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
        self.connection.ended();
    }
}
