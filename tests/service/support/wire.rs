//! Requests byte by byte, for requests that no client library would send, and for hanging up.

use std::{fmt::Write, io, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Answer, Client};

/// The longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes of a request that closes its connection after the answer.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// The bytes of a request with a JSON body.
pub(crate) fn json_request(client: &Client, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let headers = [("X-Tenant", client.tenant()), ("Content-Type", "application/json")];
    request(method, target, &headers, body)
}

/// Sends bytes and reads the answer.
pub(crate) async fn exchange(port: u16, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // The service may answer and close before it has read everything.
    drop(stream.write_all(request).await);
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await??;
    parse(&bytes).ok_or_else(|| io::Error::other(format!("no HTTP: {:?}", String::from_utf8_lossy(&bytes))))
}

/// Sends a request as written, and reads its answer.
pub(crate) async fn send(client: &Client, method: &str, target: &str, body: &[u8]) -> Answer {
    exchange(client.port(), &json_request(client, method, target, body)).await.unwrap()
}

/// Parses an answer.
pub(crate) fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, text) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = reqwest::header::HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, value.trim().parse().ok()?);
    }
    let body = serde_json::from_str(text).unwrap_or_default();
    Some(Answer { status, headers, text: text.to_owned(), body })
}

/// A request that was sent, with an unread answer. Dropping it hangs up.
pub(crate) struct Call {
    stream: TcpStream,
}

impl Call {
    /// Sends a `POST`.
    pub(crate) async fn post(client: &Client, path: &str, body: &Value) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", client.port())).await.unwrap();
        let request = json_request(client, "POST", path, body.to_string().as_bytes());
        stream.write_all(&request).await.unwrap();
        Self { stream }
    }

    /// Sends a request with a token, without the last byte of its body.
    pub(crate) async fn begin(client: &Client, token: &str, method: &str, path: &str, body: &Value) -> Self {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("X-Tenant", client.tenant()),
            ("Content-Type", "application/json"),
            ("Authorization", bearer.as_str()),
        ];
        let bytes = request(method, path, &headers, body.to_string().as_bytes());
        let mut stream = TcpStream::connect(("127.0.0.1", client.port())).await.unwrap();
        stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        Self { stream }
    }

    /// Sends bytes after the request.
    pub(crate) async fn send_more(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Hangs up. Returns the bytes of the answer that had arrived.
    pub(crate) fn hang_up(self) {
        drop(self.stream);
    }

    /// Reads the answer.
    pub(crate) async fn answer(mut self) -> Answer {
        self.first_answer().await
    }

    /// Reads the answer, once.
    pub(crate) async fn first_answer(&mut self) -> Answer {
        let mut bytes = Vec::new();
        let read = self.stream.read_to_end(&mut bytes);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        parse(&bytes).unwrap()
    }
}

/// Of two waiting calls with the same version, returns the one that still waits after the other was answered
/// `superseded`.
pub(crate) async fn the_one_that_waits(mut one: Call, mut other: Call) -> Call {
    let (answer, waiting) = tokio::select! {
        answer = one.first_answer() => (answer, other),
        answer = other.first_answer() => (answer, one),
    };
    answer.problem(409, "superseded");
    waiting
}

/// A connection for one request after the other.
pub(crate) struct Kept {
    stream: TcpStream,
    port: u16,
    received: Vec<u8>,
}

impl Kept {
    /// Connects.
    pub(crate) async fn connect(client: &Client) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", client.port())).await.unwrap();
        Self { stream, port: client.port(), received: Vec::new() }
    }

    /// Sends a `POST` and reads its answer.
    pub(crate) async fn post(&mut self, client: &Client, path: &str, body: &Value) -> Answer {
        let request = json_request(client, "POST", path, body.to_string().as_bytes());
        let request = String::from_utf8(request).unwrap().replacen("Connection: close\r\n", "", 1);
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.next_answer()).await.unwrap();
        if answer.header("connection") == "close" {
            self.stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        }
        answer
    }

    /// Reads the next answer, by its `Content-Length`.
    async fn next_answer(&mut self) -> Answer {
        loop {
            if let Some(length) = whole_answer(&self.received) {
                let bytes: Vec<_> = self.received.drain(..length).collect();
                return parse(&bytes).unwrap();
            }
            assert!(self.stream.read_buf(&mut self.received).await.unwrap() > 0, "it was closed");
        }
    }
}

/// The length of the first answer in these bytes, if it is complete.
fn whole_answer(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let body: usize = text.split_once("content-length: ")?.1.lines().next()?.trim().parse().ok()?;
    (bytes.len() >= head + body).then_some(head + body)
}
