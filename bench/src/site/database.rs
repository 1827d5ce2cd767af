//! The storage of the locks of a stand: a server of its own, or a file of the service.

use std::{net::SocketAddr, path::Path, sync::Arc};

use db_locks_testing::Kind;

use super::{Programs, etcd::Etcd, mysql::MySql, postgres::Postgres, redis::Redis, sqlite::Sqlite};
use crate::plan::{Database, Server};

/// A server, started or not, or a file.
#[derive(Debug)]
pub(super) enum Engine {
    /// etcd.
    Etcd(Etcd),
    /// Redis.
    Redis(Redis),
    /// `PostgreSQL`, with a table of bare locks if no service uses it.
    Postgres(Postgres),
    /// `MariaDB` or `MySQL`, likewise.
    MySql(MySql),
    /// A `SQLite` file.
    Sqlite(Sqlite),
}

impl Engine {
    /// The engine that a stand needs, not started.
    pub(super) fn new(server: Server, programs: &Arc<Programs>, folder: &Path) -> anyhow::Result<Self> {
        Ok(match server {
            Server::Etcd => Self::Etcd(Etcd::new(programs, folder)?),
            Server::Redis => Self::Redis(Redis::new(programs, folder)?),
            Server::Postgres => Self::Postgres(Postgres::new(programs, folder, true)?),
            Server::Mariadb => Self::MySql(MySql::new(Kind::MariaDb, programs, folder, true)?),
            Server::Service { database: Database::Postgres, .. }
            | Server::Embedded { database: Database::Postgres } => {
                Self::Postgres(Postgres::new(programs, folder, false)?)
            }
            Server::Service { database: Database::Mariadb, .. }
            | Server::Embedded { database: Database::Mariadb } => {
                Self::MySql(MySql::new(Kind::MariaDb, programs, folder, false)?)
            }
            Server::Service { database: Database::Mysql, .. }
            | Server::Embedded { database: Database::Mysql } => {
                Self::MySql(MySql::new(Kind::MySql, programs, folder, false)?)
            }
            Server::Service { database: Database::Sqlite, .. }
            | Server::Embedded { database: Database::Sqlite } => Self::Sqlite(Sqlite::new(folder)),
        })
    }

    /// Starts the server, empty if it has to be clean. Returns its address, if it has one.
    pub(super) async fn start(&mut self, clean: bool) -> anyhow::Result<Option<SocketAddr>> {
        match self {
            Self::Etcd(server) => server.start().await.map(Some),
            Self::Redis(server) => server.start().await.map(Some),
            Self::Postgres(server) => server.start(clean).await.map(Some),
            Self::MySql(server) => server.start(clean).await.map(Some),
            Self::Sqlite(file) => file.start(clean).map(|()| None),
        }
    }

    /// Ends the server.
    pub(super) fn stop(&mut self) {
        match self {
            Self::Etcd(server) => server.process = None,
            Self::Redis(server) => server.process = None,
            Self::Postgres(server) => server.process = None,
            Self::MySql(server) => server.process = None,
            Self::Sqlite(_) => {}
        }
    }

    /// The process, if there is one.
    pub(super) fn id(&self) -> Option<u32> {
        let process = match self {
            Self::Etcd(server) => server.process.as_ref(),
            Self::Redis(server) => server.process.as_ref(),
            Self::Postgres(server) => server.process.as_ref(),
            Self::MySql(server) => server.process.as_ref(),
            Self::Sqlite(_) => None,
        };
        process.map(super::Process::id)
    }

    /// The URL for the service.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Postgres(server) => format!("postgres://locks@{}/locks", server.address),
            Self::MySql(server) => format!("mysql://locks:locks@{}/locks", server.address),
            Self::Sqlite(file) => file.url(),
            Self::Etcd(_) | Self::Redis(_) => String::new(),
        }
    }
}
