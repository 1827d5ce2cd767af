//! The result of a search for the server that accepts writes.

use sea_orm::sqlx;
use tokio::time::Instant;

use super::super::not_sent::NotSent;

/// The result of a search for the server that accepts writes.
#[derive(Debug, Clone)]
pub(super) struct ServerSearch {
    /// When the last search began in which all servers answered or failed; `None` before the first one.
    pub(super) began: Option<Instant>,
    pub(super) found: FoundServer,
}

/// The server to use, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundServer {
    /// The index of a server.
    Server(usize),
    /// No server accepts writes.
    NoneWrites,
    /// Several servers accept writes, and it is unknown which of them is the right one. Holds their names.
    Several(String),
    /// No server answers. Holds the error of each.
    Silence(String),
}

impl ServerSearch {
    /// The result for a URL with a single server, which is never searched for.
    pub(super) const fn of_single_server() -> Self {
        Self { began: None, found: FoundServer::Server(0) }
    }

    /// The result before the first search.
    pub(super) const fn unknown() -> Self {
        Self { began: None, found: FoundServer::Silence(String::new()) }
    }
}

impl FoundServer {
    pub(super) fn server(&self) -> Result<usize, sqlx::Error> {
        match self {
            Self::Server(server) => Ok(*server),
            Self::NoneWrites => Err(NotSent::ReadOnly("no host of the URL accepts writes").into()),
            Self::Several(names) => Err(NotSent::SeveralWritable(names.clone()).into()),
            Self::Silence(said) => {
                let refused = std::io::ErrorKind::ConnectionRefused;
                Err(std::io::Error::new(refused, format!("no host of the URL answers: {said}")).into())
            }
        }
    }
}
