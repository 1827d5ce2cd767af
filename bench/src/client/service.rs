//! The service, and its `/health`.

use std::net::SocketAddr;

use super::{
    Ask, Failure, Grant, Http,
    http::{member, number, tail_of_head},
};
use crate::{
    number::{Dice, count},
    plan::Route,
};

/// The length of a version: a UUID with hyphens.
const VERSION: usize = 36;

/// A client of the service: one connection to its replica, or one to each of them.
#[derive(Debug)]
pub(crate) struct Service {
    replicas: Vec<Http>,
    dice: Dice,
    request: Vec<u8>,
    text: Text,
}

/// The parts of the requests that do not change.
#[derive(Debug)]
struct Text {
    /// The bytes before the key.
    start: &'static str,
    /// The bytes after the key.
    acquire: String,
    /// The bytes between the key and the version.
    release: String,
    /// The bytes between the key and the version.
    heartbeat: String,
}

impl Text {
    /// Prepares the requests.
    fn new(ask: Ask) -> Self {
        let Ask { lease_ms, wait_ms, semaphore, guarded, .. } = ask;
        let guarded = if guarded { r#","guarded":true"# } else { "" };
        let body =
            format!(r#"{{"owner":"bench","lease_duration_ms":{lease_ms},"wait_ms":{wait_ms}{guarded}}}"#);
        let versioned = |verb: &str| {
            let opening = r#"{"version":""#;
            let head = tail_of_head(opening.len() + VERSION + r#""}"#.len());
            format!("/{verb}{head}{opening}")
        };
        Self {
            start: if semaphore { "POST /semaphores/" } else { "POST /locks/" },
            acquire: format!("/acquire{}{body}", tail_of_head(body.len())),
            release: versioned("release"),
            heartbeat: versioned("heartbeat"),
        }
    }
}

impl Service {
    /// Connects to the replica of this client, or to all replicas if it chooses for each request.
    pub(super) async fn connect(front: &[SocketAddr], index: usize, ask: Ask) -> Result<Self, Failure> {
        let mut replicas = Vec::new();
        match ask.route {
            Route::Sticky => replicas.push(connect(front[index % front.len()]).await?),
            Route::Random => {
                for &address in front {
                    replicas.push(connect(address).await?);
                }
            }
        }
        Ok(Self { replicas, dice: Dice::new(count(index)), request: Vec::new(), text: Text::new(ask) })
    }

    /// Acquires; the grant's name is its version.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        self.begin(key);
        self.request.extend_from_slice(self.text.acquire.as_bytes());
        let body = self.send("acquire").await?;
        let version = member(body, br#""version":""#).filter(|version| version.len() == VERSION);
        let token = number(body, br#""fencing_token":"#);
        match (version, token) {
            (Some(name), Some(fencing_token)) => {
                Ok(Grant { name: name.to_owned(), fencing_token, ..Grant::default() })
            }
            _ => Err(Failure::Malformed("acquire")),
        }
    }

    /// Releases.
    pub(super) async fn release(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        self.begin(key);
        self.request.extend_from_slice(self.text.release.as_bytes());
        self.end(grant);
        self.send("release").await.map(drop)
    }

    /// Extends the lease.
    pub(super) async fn heartbeat(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        self.begin(key);
        self.request.extend_from_slice(self.text.heartbeat.as_bytes());
        self.end(grant);
        self.send("heartbeat").await.map(drop)
    }

    /// Starts a request on that key.
    fn begin(&mut self, key: &str) {
        self.request.clear();
        self.request.extend_from_slice(self.text.start.as_bytes());
        self.request.extend_from_slice(key.as_bytes());
    }

    /// Ends a body that consists of a version.
    fn end(&mut self, grant: &Grant) {
        self.request.extend_from_slice(grant.name.as_bytes());
        self.request.extend_from_slice(br#""}"#);
    }

    /// Sends the built request, and expects 200.
    async fn send(&mut self, call: &'static str) -> Result<&[u8], Failure> {
        let replica = if self.replicas.len() == 1 { 0 } else { self.dice.below(self.replicas.len()) };
        match self.replicas[replica].exchange(&self.request).await? {
            (200, body) => Ok(body),
            (status, _) => Err(Failure::Status { call, status }),
        }
    }
}

/// Connects, and waits for a first answer. A connection that the server has not accepted yet takes a place in its
/// accept queue, which is short. A connection that does not fit is tried again only after a second.
async fn connect(address: SocketAddr) -> Result<Http, Failure> {
    let mut http = Http::connect(address).await?;
    alive(&mut http).await.map(|()| http)
}

/// Sends a request for `/health`.
async fn alive(http: &mut Http) -> Result<(), Failure> {
    match http.exchange(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await? {
        (200, _) => Ok(()),
        (status, _) => Err(Failure::Status { call: "/health", status }),
    }
}

/// A client that only asks for `/health`.
#[derive(Debug)]
pub(crate) struct Health(Http);

impl Health {
    /// Connects.
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        connect(address).await.map(Self)
    }

    /// Asks once.
    pub(super) async fn ask(&mut self) -> Result<(), Failure> {
        alive(&mut self.0).await
    }
}
