//! Detects a client's protocol before its first request is read.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::sleep};

use super::{
    tls::{H2, Tls},
    transport::Transport,
};

/// The beginning of the HTTP/2 preface. No method of the service begins like this.
const PREFACE: [u8; 3] = *b"PRI";
/// The pause before the next look, if the preface arrived in pieces.
const RECHECK_PAUSE: Duration = Duration::from_millis(10);

/// The protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by ALPN within TLS or with prior knowledge.
    Http2,
}

/// Detects a client's protocol, after the TLS handshake if TLS is set up.
pub(super) async fn detect(tcp: TcpStream, tls: Option<&Tls>) -> io::Result<(Transport, Protocol)> {
    let Some(tls) = tls else {
        let protocol = by_first_bytes(&tcp).await?;
        return Ok((Transport::Plain(tcp), protocol));
    };
    let stream = tls.acceptor().accept(tcp).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let protocol = if is_h2 { Protocol::Http2 } else { Protocol::Http1 };
    Ok((Transport::Tls(Box::new(stream)), protocol))
}

async fn by_first_bytes(tcp: &TcpStream) -> io::Result<Protocol> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = tcp.peek(&mut first).await?;
        if count == PREFACE.len() && first == PREFACE {
            return Ok(Protocol::Http2);
        }
        // No byte: the client has closed, which the HTTP/1.1 server notices.
        if count == 0 || first[..count] != PREFACE[..count] {
            return Ok(Protocol::Http1);
        }
        sleep(RECHECK_PAUSE).await;
    }
}
