//! The compared programs: their paths, their versions, and missing ones.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use db_locks_testing::{Kind, Programs as ServerPrograms};

use crate::plan::{Database, Server};

/// The paths of the programs that were found.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The service. Its path is set whether or not it exists.
    pub(super) service: PathBuf,
    pub(super) etcd: Option<PathBuf>,
    pub(super) redis: Option<PathBuf>,
    /// The SQL servers that exist, and the reasons why others do not.
    servers: Vec<(Kind, Result<ServerPrograms, String>)>,
}

impl Programs {
    /// Looks for the programs of these stands; `MySQL` is fetched if it is not installed.
    pub(crate) fn find(service: PathBuf, stands: impl Iterator<Item = Server>) -> Self {
        let mut servers = Vec::new();
        for kind in stands.filter_map(kind) {
            if servers.iter().all(|(known, _)| *known != kind) {
                servers.push((kind, kind.programs()));
            }
        }
        Self { service, etcd: find("etcd"), redis: find("redis-server"), servers }
    }

    /// The programs of a server.
    pub(super) fn server(&self, kind: Kind) -> Option<&ServerPrograms> {
        self.look_up(kind)?.as_ref().ok()
    }

    fn look_up(&self, kind: Kind) -> Option<&Result<ServerPrograms, String>> {
        self.servers.iter().find(|(known, _)| *known == kind).map(|(_, programs)| programs)
    }

    /// The missing programs of a stand, with the packages that have them.
    pub(crate) fn missing(&self, server: Server) -> Option<String> {
        let lacks = kind(server).and_then(|kind| self.look_up(kind)?.as_ref().err());
        let debian = match server {
            Server::Etcd if self.etcd.is_none() => "etcd-server",
            Server::Redis if self.redis.is_none() => "redis-server",
            _ if lacks.is_some() => return lacks.cloned(),
            Server::Service { .. } if !self.service.is_file() => {
                let path = self.service.display();
                return Some(format!("{path} does not exist: `cargo build --release` makes it"));
            }
            _ => return None,
        };
        Some(format!("not installed: `apt-get install {debian}`"))
    }

    /// `pgbench`, which Debian ships with the server.
    pub(crate) fn pgbench(&self) -> Option<PathBuf> {
        let postgres = self.server(Kind::Postgres)?;
        Some(postgres.beside("pgbench")).filter(|program| program.is_file())
    }

    /// The versions that the programs report.
    pub(crate) fn versions(&self) -> Vec<String> {
        let service = Some(&self.service).filter(|path| path.is_file());
        let servers = self.servers.iter().filter_map(|(_, programs)| Some(&programs.as_ref().ok()?.server));
        [service, self.etcd.as_ref(), self.redis.as_ref()]
            .into_iter()
            .flatten()
            .chain(servers)
            .filter_map(|program| version(program))
            .collect()
    }
}

/// The first line of a program's answer to `--version`.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// A program in the search path, or in the folder of the system's servers, which the path of a user may lack.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| is_executable(program))
}

/// Whether a file may be run.
fn is_executable(program: &Path) -> bool {
    fs::metadata(program).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The server of SQL of a stand.
fn kind(server: Server) -> Option<Kind> {
    let database = match server {
        Server::Postgres => Database::Postgres,
        Server::Mariadb => Database::Mariadb,
        Server::Service { database, .. } | Server::Embedded { database } => database,
        Server::Etcd | Server::Redis => return None,
    };
    match database {
        Database::Postgres => Some(Kind::Postgres),
        Database::Mariadb => Some(Kind::MariaDb),
        Database::Mysql => Some(Kind::MySql),
        Database::Sqlite => None,
    }
}
