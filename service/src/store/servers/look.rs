//! The result of a look at all servers.

use sea_orm::sqlx;
use tokio::time::Instant;

use super::super::session::{ReadOnlyServer, SeveralWritable, refused};

/// The result of a look at all servers.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// When the last look began in which all servers answered or failed; `None` before the first one.
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
    /// Several servers accept writes, and nothing tells which of them is the right one. Holds their names.
    Several(String),
    /// No server answers. Holds the error of each.
    Silence(String),
}

impl Look {
    /// The look of an only server, which is never searched for.
    pub(super) const fn at_the_only_one() -> Self {
        Self { began: None, found: FoundServer::Server(0) }
    }

    /// The look before the first one: nothing was found yet.
    pub(super) const fn before_the_first() -> Self {
        Self { began: None, found: FoundServer::Silence(String::new()) }
    }
}

impl FoundServer {
    pub(super) fn server(&self) -> Result<usize, sqlx::Error> {
        match self {
            Self::Server(server) => Ok(*server),
            Self::NoneWrites => Err(refused(ReadOnlyServer("no host of the URL accepts writes"))),
            Self::Several(names) => Err(refused(SeveralWritable(names.clone()))),
            Self::Silence(said) => {
                let refused = std::io::ErrorKind::ConnectionRefused;
                Err(std::io::Error::new(refused, format!("no host of the URL answers: {said}")).into())
            }
        }
    }
}
