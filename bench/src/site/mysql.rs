//! A `MariaDB` or `MySQL` server with its default, durable settings.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use db_locks_testing::{Kind, Recipe};
use mysql_async::prelude::Queryable;

use super::{
    Process, Programs,
    server::{set_up, start},
};
use crate::client::{MARIADB_SCHEMA, connect_mysql};

/// A server whose files are kept between its starts.
#[derive(Debug)]
pub(super) struct MySql {
    recipe: Recipe,
    /// Whether the table is that of the hand-written statements.
    is_bare: bool,
    is_new: bool,
    pub(super) address: SocketAddr,
    /// The running server.
    pub(super) process: Option<Process>,
}

impl MySql {
    /// Sets the server up without starting it.
    pub(super) fn new(
        kind: Kind,
        programs: &Arc<Programs>,
        folder: &Path,
        is_bare: bool,
    ) -> anyhow::Result<Self> {
        let settings = ["--innodb-flush-log-at-trx-commit=1"];
        let (recipe, address) = set_up(kind, programs, folder, &settings)?;
        Ok(Self { recipe, is_bare, is_new: true, address, process: None })
    }

    /// Starts the server, with a new database if it has to be clean, and waits until it answers.
    pub(super) async fn start(&mut self, clean: bool) -> anyhow::Result<SocketAddr> {
        let address = self.address;
        let process = self.process.insert(start(&self.recipe, "TERM"));
        process.ready(async || connect_mysql(address, None).await.is_ok()).await?;
        if std::mem::take(&mut self.is_new) || clean {
            self.recreate().await?;
        }
        Ok(address)
    }

    /// Replaces the database by a new one.
    async fn recreate(&self) -> anyhow::Result<()> {
        let mut connection = connect_mysql(self.address, None).await?;
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
        let mut connection = connect_mysql(self.address, Some("locks")).await?;
        let fill = format!(
            "INSERT INTO bare_locks SELECT CONCAT('row-', seq), 'bench', 0, 1, '1970-01-01' FROM seq_0_to_{}",
            rows - 1
        );
        connection.query_drop(fill).await.context("fill the table")?;
        connection.disconnect().await.context("disconnect")
    }

    /// The number of statements that clients have sent, including those of this question.
    pub(super) async fn questions(&self) -> anyhow::Result<u64> {
        let mut connection = connect_mysql(self.address, None).await?;
        let row: Option<(String, u64)> =
            connection.query_first("SHOW GLOBAL STATUS LIKE 'Questions'").await.context("statistics")?;
        connection.disconnect().await.context("disconnect")?;
        Ok(row.context("no statistics")?.1)
    }
}
