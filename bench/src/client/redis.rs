//! Redis in its own protocol, with the lock that its documentation describes: `SET NX PX` with a random value, and a
//! script that deletes the key only if it has the client's own value.

use std::{io::Write as _, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Ask, Failure, Grant};
use crate::number::unique;

/// Deletes the key if it has the given value.
const RELEASE: &str =
    r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end"#;

/// Sets the expiry of the key again if it has the given value.
const HEARTBEAT: &str = r#"if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("pexpire",KEYS[1],ARGV[2]) else return 0 end"#;

/// A client of Redis.
#[derive(Debug)]
pub(crate) struct Redis {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The scripts' names: their SHA-1.
    release: String,
    heartbeat: String,
    lease_ms: String,
}

/// An answer: the kinds that these commands have.
#[derive(Debug, PartialEq)]
enum Answer {
    /// `+OK`.
    Done,
    /// `$-1`.
    Nothing,
    /// `:1`.
    Number(i64),
    /// A text.
    Text(String),
}

impl Redis {
    /// Connects and loads the scripts.
    pub(super) async fn connect(address: SocketAddr, ask: Ask) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            release: String::new(),
            heartbeat: String::new(),
            lease_ms: ask.lease_ms.to_string(),
        };
        client.release = client.load(RELEASE).await?;
        client.heartbeat = client.load(HEARTBEAT).await?;
        Ok(client)
    }

    /// Tries once; the grant's name is the value.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        let name = unique().to_string();
        let lease_ms = std::mem::take(&mut self.lease_ms);
        let answer = self.command(&["SET", key, &name, "NX", "PX", &lease_ms]).await;
        self.lease_ms = lease_ms;
        match answer? {
            Answer::Done => Ok(Grant { name, ..Grant::default() }),
            Answer::Nothing => Err(Failure::Refused("SET NX")),
            _ => Err(Failure::Malformed("SET")),
        }
    }

    /// Releases.
    pub(super) async fn release(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        let script = std::mem::take(&mut self.release);
        let answer = self.command(&["EVALSHA", &script, "1", key, &grant.name]).await;
        self.release = script;
        expect_one(&answer?, "release")
    }

    /// Extends the lease.
    pub(super) async fn heartbeat(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        let script = std::mem::take(&mut self.heartbeat);
        let lease_ms = std::mem::take(&mut self.lease_ms);
        let answer = self.command(&["EVALSHA", &script, "1", key, &grant.name, &lease_ms]).await;
        (self.heartbeat, self.lease_ms) = (script, lease_ms);
        expect_one(&answer?, "heartbeat")
    }

    /// Loads a script and returns its name.
    async fn load(&mut self, script: &str) -> Result<String, Failure> {
        match self.command(&["SCRIPT", "LOAD", script]).await? {
            Answer::Text(name) => Ok(name),
            _ => Err(Failure::Malformed("SCRIPT LOAD")),
        }
    }

    /// Sends a command and reads its answer.
    async fn command(&mut self, words: &[&str]) -> Result<Answer, Failure> {
        self.output.clear();
        write!(self.output, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.output, "${}\r\n{word}\r\n", word.len())?;
        }
        self.stream.write_all(&self.output).await?;
        self.input.clear();
        loop {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Failure::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(answer) = parse(&self.input)? {
                return Ok(answer);
            }
        }
    }
}

/// Checks that a script succeeded.
fn expect_one(answer: &Answer, call: &'static str) -> Result<(), Failure> {
    match answer {
        Answer::Number(1) => Ok(()),
        Answer::Number(_) => Err(Failure::Refused(call)),
        _ => Err(Failure::Malformed(call)),
    }
}

/// The answer, once all of it is there.
fn parse(input: &[u8]) -> Result<Option<Answer>, Failure> {
    let Some(end) = memchr::memmem::find(input, b"\r\n") else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&input[..end]).map_err(|_| Failure::Malformed("Redis"))?;
    let number = || line[1..].parse::<i64>().map_err(|_| Failure::Malformed("Redis"));
    match line.as_bytes().first() {
        Some(b'+') => Ok(Some(Answer::Done)),
        Some(b':') => Ok(Some(Answer::Number(number()?))),
        Some(b'-') => Err(Failure::Driver { call: "Redis", detail: line[1..].to_owned() }),
        Some(b'$') => {
            let Ok(length) = usize::try_from(number()?) else {
                return Ok(Some(Answer::Nothing));
            };
            let text = input.get(end + 2..end + 2 + length).filter(|_| input.len() >= end + 4 + length);
            Ok(text.map(|text| Answer::Text(String::from_utf8_lossy(text).into_owned())))
        }
        _ => Err(Failure::Malformed("Redis")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, parse};

    #[test]
    fn answers_are_read_once_they_are_whole() {
        assert_eq!(parse(b"+OK\r\n").ok(), Some(Some(Answer::Done)));
        assert_eq!(parse(b"$-1\r\n").ok(), Some(Some(Answer::Nothing)));
        assert_eq!(parse(b":1\r\n").ok(), Some(Some(Answer::Number(1))));
        assert_eq!(parse(b"$3\r\nabc\r\n").ok(), Some(Some(Answer::Text("abc".into()))));
        assert_eq!(parse(b"$3\r\nabc").ok(), Some(None));
        assert_eq!(parse(b":1").ok(), Some(None));
        assert!(parse(b"-NOSCRIPT\r\n").is_err());
    }
}
