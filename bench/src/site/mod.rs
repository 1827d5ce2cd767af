//! The servers of a stand: started together, measured, ended.

mod database;
mod etcd;
mod machine;
mod mysql;
mod postgres;
mod process;
mod programs;
mod redis;
mod server;
mod service;
mod sqlite;
mod usage;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use db_locks::{Client, LocksConfig};

use self::{
    database::Engine,
    process::{Launch, Process},
};
pub(crate) use self::{
    machine::Machine,
    programs::Programs,
    usage::{Memory, Usage},
};
use crate::{
    client::Failure,
    plan::{Server, Stand},
};

/// The addresses for clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// The measured servers: the replicas of the service, or the one server.
    pub(crate) front: Vec<SocketAddr>,
    /// The database server beneath, if there is one.
    pub(crate) database: Option<SocketAddr>,
    /// The URL of the database beneath.
    pub(crate) url: String,
    /// The engine in this process.
    pub(crate) engine: Option<Client>,
}

impl Target {
    /// The first address; the only one except for the service.
    pub(crate) fn first(&self) -> SocketAddr {
        self.front[0]
    }

    /// The engine in this process.
    pub(crate) fn engine(&self) -> Result<&Client, Failure> {
        self.engine.as_ref().ok_or(Failure::Unsupported("an engine"))
    }
}

/// A stand with its folder, and with its servers while it is open.
#[derive(Debug)]
pub(crate) struct Site {
    stand: Stand,
    programs: Arc<Programs>,
    folder: PathBuf,
    // Declared, and so dropped, before the database that they use.
    replicas: Vec<Process>,
    engine: Engine,
    target: Target,
    /// Whether the table has been filled.
    pub(crate) is_full: bool,
}

impl Site {
    /// A stand that is not open yet, in a folder of its own.
    pub(crate) fn new(stand: Stand, programs: Arc<Programs>, folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let engine = Engine::new(stand.server, &programs, &folder)?;
        let target = Target::default();
        Ok(Self { stand, programs, folder, replicas: Vec::new(), engine, target, is_full: false })
    }

    /// Starts the servers, with empty tables if they have to be clean, and waits until they answer.
    pub(crate) async fn open(&mut self, clean: bool) -> anyhow::Result<()> {
        self.close();
        let address = self.engine.start(clean).await?;
        let url = self.engine.url();
        self.target = match self.stand.server {
            Server::Service { replicas, .. } => {
                let mut front = Vec::new();
                for number in 1..=replicas {
                    let log = self.folder.join(format!("db-locks-{number}.log"));
                    let (process, address) = service::start(&self.programs.service, &url, log).await?;
                    self.replicas.push(process);
                    front.push(address);
                }
                Target { front, database: address, url, engine: None }
            }
            Server::Embedded { .. } => {
                let config = LocksConfig::new(url.as_str());
                let engine = Client::connect(&config).await.context("start the engine")?;
                Target { front: Vec::new(), database: address, url, engine: Some(engine) }
            }
            _ => Target { front: address.into_iter().collect(), database: address, url, engine: None },
        };
        if clean {
            self.is_full = false;
        }
        Ok(())
    }

    /// Ends the servers. The files stay.
    pub(crate) fn close(&mut self) {
        self.replicas.clear();
        self.target = Target::default();
        self.engine.stop();
    }

    /// The addresses for clients, while the stand is open.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The stand.
    pub(crate) fn stand(&self) -> Stand {
        self.stand
    }

    /// The folder that holds the site's files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The programs that were found.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Fills an engine by statements; false if the service has to fill it.
    pub(crate) async fn fill_bare(&self, rows: u64) -> anyhow::Result<bool> {
        match (self.stand.server, &self.engine) {
            (Server::Postgres, Engine::Postgres(server)) => server.fill(rows).await.map(|()| true),
            (Server::Mariadb, Engine::MySql(server)) => server.fill(rows).await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// Makes the database do its background work at once, before a measurement.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        if let Engine::Postgres(server) = &self.engine { server.settle().await } else { Ok(()) }
    }

    /// The number of statements or transactions that the server has run so far in the service's database; `None`
    /// without a server.
    pub(crate) async fn statements(&self) -> anyhow::Result<Option<u64>> {
        match &self.engine {
            Engine::Postgres(server) => server.transactions().await.map(Some),
            Engine::MySql(server) => server.questions().await.map(Some),
            _ => Ok(None),
        }
    }

    /// The processor time of the servers so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage::now(&self.service_ids(), self.engine.id())
    }

    /// The memory of the servers now.
    pub(crate) fn memory(&self) -> Memory {
        Memory::now(&self.service_ids(), self.engine.id())
    }

    /// The processes of the service.
    fn service_ids(&self) -> Vec<u32> {
        self.replicas.iter().map(Process::id).collect()
    }
}
