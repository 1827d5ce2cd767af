//! The programs that are compared: where they lie, which versions they are, what is missing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::process::User;
use crate::plan::{Database, Server};

/// Where the programs lie, as far as they were found.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The service. It is named here whether it exists or not.
    pub(super) service: PathBuf,
    pub(super) etcd: Option<PathBuf>,
    pub(super) redis: Option<PathBuf>,
    /// The folder of `PostgreSQL`'s newest version.
    pub(super) postgres: Option<PathBuf>,
    pub(super) mariadb: Option<PathBuf>,
    pub(super) mariadb_install: Option<PathBuf>,
    pub(super) setpriv: Option<PathBuf>,
    /// Whom `PostgreSQL` runs as: `postgres` where this program is root, else whoever runs it.
    pub(super) postgres_user: Option<User>,
    /// Whom `MariaDB` runs as.
    pub(super) mariadb_user: Option<User>,
}

impl Programs {
    /// Looks for them.
    pub(crate) fn find(service: PathBuf) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let user = |name| if is_root { user(name) } else { None };
        Self {
            service,
            etcd: find("etcd"),
            redis: find("redis-server"),
            postgres: newest_postgres(),
            mariadb: find("mariadbd"),
            mariadb_install: find("mariadb-install-db"),
            setpriv: find("setpriv"),
            postgres_user: user("postgres"),
            mariadb_user: user("mysql"),
        }
    }

    /// What a stand needs and is not there, with what brings it.
    pub(crate) fn missing(&self, server: Server) -> Option<String> {
        let database = match server {
            Server::Postgres | Server::Service { database: Database::Postgres, .. } => {
                Some(Database::Postgres)
            }
            Server::Mariadb | Server::Service { database: Database::Mariadb, .. } => Some(Database::Mariadb),
            _ => None,
        };
        let lacks_mariadb = self.mariadb.is_none() || self.mariadb_install.is_none();
        let debian = match (server, database) {
            (Server::Etcd, _) if self.etcd.is_none() => "etcd-server",
            (Server::Redis, _) if self.redis.is_none() => "redis-server",
            (_, Some(Database::Postgres)) if self.postgres.is_none() => "postgresql",
            (_, Some(Database::Mariadb)) if lacks_mariadb => "mariadb-server",
            (Server::Service { .. }, _) if !self.service.is_file() => {
                let path = self.service.display();
                return Some(format!("{path} does not exist: `cargo build --release` makes it"));
            }
            _ => return None,
        };
        Some(format!("not installed: `apt-get install {debian}`"))
    }

    /// `pgbench`, which Debian ships with the server.
    pub(crate) fn pgbench(&self) -> Option<PathBuf> {
        self.postgres.as_ref().map(|folder| folder.join("pgbench")).filter(|program| program.is_file())
    }

    /// What each program says of its version.
    pub(crate) fn versions(&self) -> Vec<String> {
        let postgres = self.postgres.as_ref().map(|folder| folder.join("postgres"));
        let service = Some(&self.service).filter(|path| path.is_file());
        [service, self.etcd.as_ref(), self.redis.as_ref(), postgres.as_ref(), self.mariadb.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|program| version(program))
            .collect()
    }
}

/// The first line of what a program answers to `--version`.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// A program in the search path, or in the folder of the system's servers, which the path of a user may lack.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| is_executable(program))
}

/// Whether a file may be run.
fn is_executable(program: &Path) -> bool {
    fs::metadata(program).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The programs of the newest `PostgreSQL` that Debian's packages have installed.
fn newest_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let folder = versions.map(|entry| entry.path()).max_by_key(version)?.join("bin");
    folder.join("postgres").is_file().then_some(folder)
}

/// A user by name.
fn user(name: &str) -> Option<User> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}
