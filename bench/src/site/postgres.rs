//! A `PostgreSQL` server with its default, durable settings.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context;
use db_locks_testing::{Kind, Recipe};

use super::{
    Process, Programs,
    server::{set_up, start},
};
use crate::client::{POSTGRES_SCHEMA, Session};

/// A server whose files are kept between its starts.
#[derive(Debug)]
pub(super) struct Postgres {
    recipe: Recipe,
    /// Whether the table is that of the hand-written statements.
    is_bare: bool,
    is_new: bool,
    pub(super) address: SocketAddr,
    /// The running server.
    pub(super) process: Option<Process>,
}

impl Postgres {
    /// Sets the server up without starting it.
    pub(super) fn new(programs: &Arc<Programs>, folder: &Path, is_bare: bool) -> anyhow::Result<Self> {
        let (recipe, address) = set_up(Kind::Postgres, programs, folder, &[])?;
        Ok(Self { recipe, is_bare, is_new: true, address, process: None })
    }

    /// Starts the server, with a new database if it has to be clean, and waits until it answers.
    pub(super) async fn start(&mut self, clean: bool) -> anyhow::Result<SocketAddr> {
        let address = self.address;
        // SIGINT ends the sessions and writes a checkpoint, so that the next start has nothing left to do.
        let process = self.process.insert(start(&self.recipe, "INT"));
        process.ready(async || Session::connect(address, "postgres").await.is_ok()).await?;
        let is_new = std::mem::take(&mut self.is_new);
        if is_new {
            self.age().await?;
        }
        if is_new || clean {
            self.recreate().await?;
        }
        Ok(address)
    }

    /// Makes a new cluster write its first log segments. It creates them one by one, which is slow. A server that has
    /// run for a while reuses its old ones, and so should a measured server.
    async fn age(&self) -> anyhow::Result<()> {
        let mut session = Session::connect(self.address, "postgres").await?;
        let fill = "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 300000)";
        for statement in [fill, "DROP TABLE filler", "CHECKPOINT"] {
            session.batch(statement).await.context("write the first log segments")?;
        }
        Ok(())
    }

    /// Replaces the database by a new one.
    async fn recreate(&self) -> anyhow::Result<()> {
        let mut session = Session::connect(self.address, "postgres").await?;
        session.batch("DROP DATABASE IF EXISTS locks WITH (FORCE)").await?;
        session.batch("CREATE DATABASE locks").await?;
        if self.is_bare {
            Session::connect(self.address, "locks").await?.batch(POSTGRES_SCHEMA).await?;
        }
        Ok(())
    }

    /// Fills the bare table with free locks.
    pub(super) async fn fill(&self, rows: u64) -> anyhow::Result<()> {
        let fill = format!(
            "INSERT INTO bare_locks SELECT 'row-' || n, 'bench', 1, '-infinity' FROM generate_series(0, {rows} - 1) AS n"
        );
        Session::connect(self.address, "locks").await?.batch(&fill).await.context("fill the table")
    }

    /// Vacuums after the filling and writes a checkpoint, which autovacuum and the checkpointer would do later.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let mut session = Session::connect(self.address, "locks").await?;
        session.batch("VACUUM ANALYZE").await?;
        session.batch("CHECKPOINT").await.context("write a checkpoint")
    }

    /// The number of transactions that have ended in the database of the locks. The question comes from another
    /// database, so that it does not count.
    pub(super) async fn transactions(&self) -> anyhow::Result<u64> {
        let mut session = Session::connect(self.address, "postgres").await?;
        let sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'locks'";
        let statement = session.prepare(sql).await?;
        let row = session.query("statistics", &statement, &[]).await?.context("no statistics")?;
        u64::try_from(row.get::<_, i64>(0)).context("statistics below zero")
    }
}
