//! A `MariaDB` server with its default, durable settings.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;

use super::{
    Launch, Process, Programs,
    process::{User, free_address},
};
use crate::client::{MARIADB_SCHEMA, connect_mariadb};

/// A server whose files are kept between its starts.
#[derive(Debug)]
pub(super) struct Mariadb {
    program: PathBuf,
    install: PathBuf,
    setpriv: Option<PathBuf>,
    user: Option<User>,
    folder: PathBuf,
    /// Whether its table is the one of the statements by hand.
    is_bare: bool,
    pub(super) address: SocketAddr,
    /// While it runs.
    pub(super) process: Option<Process>,
}

impl Mariadb {
    /// Not started.
    pub(super) fn new(programs: &Arc<Programs>, folder: &Path, is_bare: bool) -> anyhow::Result<Self> {
        Ok(Self {
            program: programs.mariadb.clone().context("no MariaDB")?,
            install: programs.mariadb_install.clone().context("no MariaDB")?,
            setpriv: programs.setpriv.clone(),
            user: programs.mariadb_user,
            folder: folder.to_owned(),
            is_bare,
            address: free_address()?,
            process: None,
        })
    }

    /// Starts it, with a new database where it is to be clean, and waits until it answers.
    pub(super) async fn start(&mut self, clean: bool) -> anyhow::Result<SocketAddr> {
        let data = self.folder.join("data");
        let is_new = !data.exists();
        if is_new {
            self.initialize(&data).await?;
        }
        self.address = free_address()?;
        let path = |name: &str| data.join(name).display().to_string();
        let launch = Launch::new(self.setpriv.as_deref(), &self.program)
            .user(self.user)
            .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args([format!("--datadir={}", data.display()), format!("--init-file={}", path("bench.sql"))])
            .args([format!("--socket={}", path("bench.sock")), format!("--pid-file={}", path("bench.pid"))])
            .args([format!("--port={}", self.address.port())])
            .args(["--innodb-flush-log-at-trx-commit=1", "--max-connections=700"]);
        let address = self.address;
        let process = self.process.insert(launch.start(self.folder.join("mariadb.log"), Signal::TERM)?);
        process.ready(async || connect_mariadb(address, None).await.is_ok()).await?;
        if is_new || clean {
            self.recreate().await?;
        }
        Ok(address)
    }

    /// Makes the data directory, owned by whom the server runs as, and the user that the benchmark connects as.
    async fn initialize(&self, data: &Path) -> anyhow::Result<()> {
        fs::create_dir(data).context("create MariaDB's folder")?;
        let user = "CREATE USER IF NOT EXISTS bench@'127.0.0.1' IDENTIFIED BY 'bench';\n\
                    GRANT ALL ON *.* TO bench@'127.0.0.1';\n";
        fs::write(data.join("bench.sql"), user).context("write MariaDB's first statements")?;
        if let Some(User { uid, gid }) = self.user {
            chown(data, Some(uid), Some(gid)).context("give MariaDB its folder")?;
        }
        Launch::new(self.setpriv.as_deref(), &self.install)
            .user(self.user)
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .args([format!("--datadir={}", data.display())])
            .finish(&self.folder.join("install.log"))
            .await
    }

    /// Puts a new database in the place of the old one.
    async fn recreate(&self) -> anyhow::Result<()> {
        let mut connection = connect_mariadb(self.address, None).await?;
        connection.query_drop("DROP DATABASE IF EXISTS locks").await.context("drop the database")?;
        connection.query_drop("CREATE DATABASE locks").await.context("create the database")?;
        if self.is_bare {
            connection.query_drop("USE locks").await.context("use the database")?;
            connection.query_drop(MARIADB_SCHEMA).await.context("create the table")?;
        }
        connection.disconnect().await.context("disconnect")
    }

    /// Fills the bare table with free locks.
    pub(super) async fn fill(&self, rows: u64) -> anyhow::Result<()> {
        let mut connection = connect_mariadb(self.address, Some("locks")).await?;
        let fill = format!(
            "INSERT INTO bare_locks SELECT CONCAT('row-', seq), 'bench', 0, 1, '1970-01-01' FROM seq_0_to_{}",
            rows - 1
        );
        connection.query_drop(fill).await.context("fill the table")?;
        connection.disconnect().await.context("disconnect")
    }

    /// How many statements clients have sent, those of this question among them.
    pub(super) async fn questions(&self) -> anyhow::Result<u64> {
        let mut connection = connect_mariadb(self.address, None).await?;
        let row: Option<(String, u64)> =
            connection.query_first("SHOW GLOBAL STATUS LIKE 'Questions'").await.context("statistics")?;
        connection.disconnect().await.context("disconnect")?;
        Ok(row.context("no statistics")?.1)
    }
}
