//! Finds the programs of the servers.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A script that unpacks a server that this machine's Debian does not have, and prints the folder that stands for `/`.
const NEWER_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/newer_server");

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The newest `PostgreSQL` that is installed; 18 with `TEST_SERVERS=newest`.
    Postgres,
    /// The `MariaDB` that is installed; 11.8 with `TEST_SERVERS=newest`.
    MariaDb,
    /// `MySQL` 9, installed or unpacked.
    MySql,
}

/// The programs of a server.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The kind of the server.
    pub kind: Kind,
    /// The program of the server.
    pub server: PathBuf,
    /// The folder that stands for `/usr`.
    pub(crate) base: PathBuf,
}

impl Kind {
    /// Finds the server's programs. Fetches them if that is the only way to have them. The error says why there are
    /// none.
    pub fn programs(self) -> Result<Programs, String> {
        match (self, newest_servers()) {
            (Self::Postgres, true) => self.unpacked("postgresql-18", "lib/postgresql/18/bin/postgres"),
            (Self::MariaDb, true) => self.unpacked("mariadb-11.8", "sbin/mariadbd"),
            _ => match self.installed() {
                Some(server) => Ok(Programs { kind: self, server, base: "/usr".into() }),
                None if self == Self::MySql => self.unpacked("mysql-9", "sbin/mysqld"),
                None => Err(format!("{self:?} is not installed")),
            },
        }
    }

    fn installed(self) -> Option<PathBuf> {
        match self {
            Self::Postgres => newest_postgres(),
            Self::MariaDb => find("mariadbd").filter(|_| find("mariadb-install-db").is_some()),
            // `mysqld` may be MariaDB's, too.
            Self::MySql => find("mysqld").filter(|program| {
                let version = Command::new(program).arg("--version").output();
                version.is_ok_and(|said| !String::from_utf8_lossy(&said.stdout).contains("MariaDB"))
            }),
        }
    }

    fn unpacked(self, name: &str, server: &str) -> Result<Programs, String> {
        let base = unpacked(name)?;
        Ok(Programs { kind: self, server: base.join(server), base })
    }
}

impl Programs {
    /// Another program that comes with the server, in its folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.server.with_file_name(name)
    }
}

/// Whether tests run on servers that are newer than this machine's.
pub fn newest_servers() -> bool {
    std::env::var("TEST_SERVERS").is_ok_and(|value| value == "newest")
}

/// `PgBouncer`: the one that is installed, or 1.24 with `TEST_SERVERS=newest`; otherwise why there is none.
pub fn pgbouncer() -> Result<PathBuf, String> {
    if newest_servers() {
        return Ok(unpacked("pgbouncer-1.24")?.join("sbin/pgbouncer"));
    }
    find("pgbouncer").ok_or_else(|| "it is not installed".to_owned())
}

/// Unpacks a server, unless it was before: the folder that stands for `/usr`.
fn unpacked(name: &str) -> Result<PathBuf, String> {
    let unpacked = Command::new(NEWER_SERVER).arg(name).output();
    let unpacked = unpacked.map_err(|error| format!("{NEWER_SERVER}: {error}"))?;
    if !unpacked.status.success() {
        return Err(format!("{name} cannot be had: {}", String::from_utf8_lossy(&unpacked.stderr).trim()));
    }
    Ok(Path::new(String::from_utf8_lossy(&unpacked.stdout).trim()).join("usr"))
}

/// A program in the search path, or in the folders of the system, which the path of a user may lack.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The newest server of Debian's packages, or else the one in PATH, with all programs that are needed.
fn newest_postgres() -> Option<PathBuf> {
    let packages = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders = packages.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect::<Vec<_>>();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let complete =
        |bin: &PathBuf| ["postgres", "initdb", "pg_isready"].iter().all(|name| bin.join(name).exists());
    folders.into_iter().find(complete).map(|bin| bin.join("postgres"))
}
