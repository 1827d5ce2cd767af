//! Detects a client's protocol before its first request is read.

use std::{io, time::Duration};

use futures_util::FutureExt;
use tokio::{net::TcpStream, time::sleep};

use super::{
    tls::{H2, Tls},
    tls_socket::TlsSocket,
    transport::Transport,
    turns::{PLAIN_START, TLS_START, Turns, Work},
};
use crate::http::connection::Party;

/// The beginning of the HTTP/2 preface. No method of the service begins like this.
const PREFACE: [u8; 3] = *b"PRI";
/// The pauses before the next looks, if the preface arrives in pieces: the first one, which doubles, and the longest one.
const RECHECK_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by ALPN within TLS or with prior knowledge.
    Http2,
}

/// Detects the protocol of a client that has sent something, after the TLS handshake if TLS is set up. The steps of it take turns with other
/// new connections, and count as `work`, as does what TLS reads later. Without a byte there would be nothing to do in a turn.
pub(super) async fn detect(
    tcp: TcpStream,
    tls: Option<&Tls>,
    turns: &Turns,
    (party, work): (Party, &Work),
) -> io::Result<(Transport, Protocol)> {
    let is_gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
    let first = Some(turns.first(party, until_gone(&tcp, tls.is_some())).await.ok_or_else(is_gone)?);
    let Some(tls) = tls else {
        let protocol = turns.begin(PLAIN_START, (party, work), first, by_first_bytes(&tcp)).await?;
        return Ok((Transport::Plain(tcp), protocol));
    };
    let socket = TlsSocket::new(tcp, work.clone());
    let stream = turns.begin(TLS_START, (party, work), first, tls.acceptor().accept(socket)).await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let protocol = if is_h2 { Protocol::Http2 } else { Protocol::Http1 };
    Ok((Transport::Tls(Box::new(stream)), protocol))
}

/// Completes when the client has closed the connection, so that the slot of the connection is free at once, and not after its turn.
/// A client without TLS may have sent a request before.
async fn until_gone(tcp: &TcpStream, is_tls: bool) {
    // On Linux the end of reading completes this wait, too, and nothing else does.
    #[cfg(target_os = "linux")]
    let _ = tcp.ready(tokio::io::Interest::PRIORITY).await;
    #[cfg(not(target_os = "linux"))]
    std::future::pending::<()>().await;
    let has_sent = matches!(tcp.peek(&mut [0]).now_or_never(), Some(Ok(1)));
    if has_sent && !is_tls {
        std::future::pending::<()>().await;
    }
}

async fn by_first_bytes(tcp: &TcpStream) -> io::Result<Protocol> {
    let mut first = [0; PREFACE.len()];
    let mut pause = RECHECK_PAUSE;
    loop {
        let count = tcp.peek(&mut first).await?;
        if count == PREFACE.len() && first == PREFACE {
            return Ok(Protocol::Http2);
        }
        // No byte: the client has closed, which the HTTP/1.1 server notices.
        if count == 0 || first[..count] != PREFACE[..count] {
            return Ok(Protocol::Http1);
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(2 * pause);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::future::join_all;
    use rustls::{
        ClientConfig, ClientConnection, RootCertStore,
        crypto::ring,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    };
    use tokio::{io::AsyncWriteExt, net::TcpListener, task::yield_now};

    use super::*;

    const CLIENTS: usize = 100;

    /// Counts handshakes, which end here.
    #[derive(Debug, Default)]
    struct Handshakes(AtomicUsize);

    impl ResolvesServerCert for Handshakes {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    /// The first bytes of a client.
    fn hello() -> Vec<u8> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut client = ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }

    #[tokio::test]
    async fn other_tasks_are_polled_between_two_handshakes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let handshakes = Arc::new(Handshakes::default());
        let (tls, turns) = (Arc::new(Tls::with_resolver(handshakes.clone()).unwrap()), Turns::new(1));
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(&hello()).await.unwrap();
            clients.push(client);
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.readable().await.unwrap();
            servers.push(tcp);
        }
        let detect = |tcp| {
            let (tls, turns) = (Arc::clone(&tls), turns.clone());
            tokio::spawn(async move {
                detect(tcp, Some(&tls), &turns, (Party::UNKNOWN, &Work::default())).await.is_err()
            })
        };
        let detected: Vec<_> = servers.into_iter().map(detect).collect();
        let mut done = 0;
        while done < CLIENTS {
            yield_now().await;
            let now = handshakes.0.load(Ordering::Relaxed);
            assert!(now - done <= 2, "{} handshakes in a row", now - done);
            done = now;
        }
        assert!(join_all(detected).await.into_iter().all(Result::unwrap));
    }

    /// Otherwise clients that connect and close at once could take all slots.
    #[tokio::test]
    async fn a_connection_that_its_client_has_closed_waits_for_no_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let turns = Turns::new(1);
        let _taken = turns.first(Party::UNKNOWN, std::future::pending::<()>()).await;
        let tls = Arc::new(Tls::with_resolver(Arc::new(Handshakes::default())).unwrap());
        for (sent, tls, is_gone) in [
            (&b""[..], None, true),
            (b"GET", None, false),
            (b"", Some(&*tls), true),
            (b"GET", Some(&*tls), true),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (tcp, _) = listener.accept().await.unwrap();
            let work = Work::default();
            let mut detected = std::pin::pin!(detect(tcp, tls, &turns, (Party::UNKNOWN, &work)));
            assert!(detected.as_mut().now_or_never().is_none());
            client.write_all(sent).await.unwrap();
            drop(client);
            let ended = tokio::time::timeout(
                std::time::Duration::from_millis(if is_gone { 10_000 } else { 100 }),
                detected,
            );
            assert_eq!(ended.await.is_ok(), is_gone, "{sent:?}");
        }
    }
}
