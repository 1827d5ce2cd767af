//! Which protocol a client speaks, found out before its first request is read.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::sleep};

use super::{
    tls::{H2, Tls},
    transport::Transport,
};

/// What a client of HTTP/2 begins with. No method that the service knows begins so.
const PREFACE: [u8; 3] = *b"PRI";
/// The pause before the rest of it is looked for, if it came in pieces.
const REST: Duration = Duration::from_millis(10);

/// The protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, agreed on within TLS or known before.
    Http2,
}

/// Finds out what a client speaks, within TLS if that is set up.
pub(super) async fn begin(tcp: TcpStream, tls: Option<&Tls>) -> io::Result<(Transport, Protocol)> {
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
        // Without a byte it has closed, which HTTP/1.1 notices.
        if count == 0 || first[..count] != PREFACE[..count] {
            return Ok(Protocol::Http1);
        }
        sleep(REST).await;
    }
}
