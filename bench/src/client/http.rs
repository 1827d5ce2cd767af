//! A minimal keep-alive HTTP/1.1 connection: the load generator shares the processors with the servers, and takes every
//! microsecond from them.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Failure, http_answer};

/// A connection that sends one request at a time.
#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    input: Vec<u8>,
    body: Vec<u8>,
}

impl Http {
    /// Connects, without Nagle's algorithm.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::with_capacity(2_048), body: Vec::with_capacity(1_024) })
    }

    /// Sends a complete request with its headers, and reads the whole answer: its status and its body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8]), Failure> {
        self.stream.write_all(request).await?;
        self.input.clear();
        loop {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Failure::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(status) = http_answer::parse(&self.input, &mut self.body)? {
                return Ok((status, &self.body));
            }
        }
    }

    /// Sends a request that is not part of a measurement: a method, a path and a JSON body, which may be empty.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String), Failure> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (status, body) = self.exchange(request.as_bytes()).await?;
        Ok((status, String::from_utf8_lossy(body).into_owned()))
    }
}

/// The head of a `POST` with a JSON body of that length, up to the body.
pub(crate) fn tail_of_head(length: usize) -> String {
    format!(
        " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// The text between the opening that is given and the next quotation mark: a member of a flat JSON object, found
/// without parsing the rest. The opening names the member, as in `"version":"`.
pub(crate) fn member<'a>(body: &'a [u8], opening: &[u8]) -> Option<&'a str> {
    let start = memchr::memmem::find(body, opening)? + opening.len();
    let length = memchr::memchr(b'"', &body[start..])?;
    std::str::from_utf8(&body[start..start + length]).ok()
}

/// The unsigned number after the opening that is given, as in `"fencing_token":`.
pub(crate) fn number(body: &[u8], opening: &[u8]) -> Option<u64> {
    let start = memchr::memmem::find(body, opening)? + opening.len();
    let digits = body[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&body[start..start + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{member, number};

    #[test]
    fn members_are_found_without_parsing() {
        let body = br#"{"key":"a","version":"0199","fencing_token":17,"owner":null}"#;
        assert_eq!(member(body, br#""version":""#), Some("0199"));
        assert_eq!(member(body, br#""owner":""#), None);
        assert_eq!(number(body, br#""fencing_token":"#), Some(17));
        assert_eq!(number(body, br#""owner":"#), None);
    }
}
