//! The transport of a connection: TCP, or TLS over TCP.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use db_locks_service::LogLimit;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::tls_socket::TlsSocket;
use crate::auth::{Authorities, ClientCertificate};

/// Limits the lines about client certificates that do not count: a client may show one with each connection.
static UNREADABLE: LogLimit = LogLimit::new();

/// The transport of a connection.
#[derive(Debug)]
pub(super) enum Transport {
    /// TCP without TLS.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TlsSocket>>),
}

impl Transport {
    /// The socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0.tcp(),
        }
    }

    /// Whether the peer has closed its side or the connection is broken, even if bytes are unread.
    pub(super) fn is_closed(&self) -> bool {
        let mut polled = [PollFd::new(self.tcp(), PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(gone)
    }
}

impl Transport {
    /// The client certificate, if there is one, which these authorities verified.
    pub(super) fn certificate(&self, authorities: Authorities) -> Option<ClientCertificate> {
        let Self::Tls(tls) = self else { return None };
        let shown = tls.get_ref().1.peer_certificates()?.first()?;
        let certificate = ClientCertificate::read(shown, authorities);
        if certificate.is_none()
            && let Some(left_out) = UNREADABLE.pass()
        {
            tracing::warn!(
                left_out,
                "a client certificate cannot be read, or has more than 100 names or more than 8 KiB of subject and names; it does not count"
            );
        }
        certificate
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    /// TLS keeps bytes back that the socket did not take.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
