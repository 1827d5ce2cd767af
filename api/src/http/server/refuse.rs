//! Answers connections beyond the limit.

use std::{io::Write, net, sync::Arc, time::Duration};

use axum::{
    body::HttpBody,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use db_locks_service::Unavailable;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Collected};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::{
    http::request_id::{self, REQUEST_ID},
    problem::Problem,
};

/// The number of refused clients that are lingered on at a time; further ones are answered and closed at once. Their descriptors are
/// among those that are reserved for the program.
const AT_ONCE: usize = 32;
/// The time limit for a refused client to read its answer and close.
const LINGER: Duration = Duration::from_secs(1);

/// Answers connections 503 and closes them.
#[derive(Debug, Clone)]
pub(super) struct Refuser(Arc<Semaphore>);

impl Default for Refuser {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Refuser {
    /// Refuses a connection, whose socket does not block, in the background.
    pub(super) fn refuse(&self, tcp: net::TcpStream, reason: Unavailable) {
        let Ok(slot) = self.0.clone().try_acquire_owned() else {
            // Without lingering the answer may get lost if the client has sent its request already.
            let _ = (&tcp).write(&refusal(reason));
            return;
        };
        // It fails only while the service ends.
        let Ok(tcp) = TcpStream::from_std(tcp) else { return };
        tokio::spawn(async move {
            // A failed write is no loss.
            let _ = tokio::time::timeout(LINGER, answer(tcp, reason)).await;
            drop(slot);
        });
    }
}

/// Answers, and reads what the client still sends: closing a socket with unread bytes resets it, and the answer may get lost.
async fn answer(mut tcp: TcpStream, reason: Unavailable) -> std::io::Result<()> {
    tcp.write_all(&refusal(reason)).await?;
    tcp.shutdown().await?;
    let mut unread = [0; 1_024];
    while tcp.read(&mut unread).await? > 0 {}
    Ok(())
}

fn refusal(reason: Unavailable) -> Vec<u8> {
    let mut response = Problem::from(reason).into_response();
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id::new_id());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    serialize(response)
}

/// Encodes a response with a body in memory as HTTP/1.1.
fn serialize(response: Response) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let length = body.size_hint().exact().unwrap_or_default();
    let body =
        body.collect().now_or_never().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut text =
        format!("HTTP/1.1 {} {reason}\r\ncontent-length: {length}\r\n", parts.status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&body);
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn each_refused_client_is_answered_also_beyond_those_that_are_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let refuser = Refuser::default();
        let clients: Vec<_> = (0..=AT_ONCE)
            .map(|_| {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let tcp = listener.accept().unwrap().0;
                tcp.set_nonblocking(true).unwrap();
                refuser.refuse(tcp, Unavailable::Connections);
                client
            })
            .collect();
        let last = clients.into_iter().next_back().unwrap();
        let mut answer = String::new();
        (&last).read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}
