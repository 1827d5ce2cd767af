//! A worker of the proof: it acquires a lock and increments a counter under it.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use serde_json::json;

use crate::support::{Client, sql};

/// When the counter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// In the transaction, after the guard.
    InTransaction,
    /// After the acquire, before the transaction.
    BeforeTransaction,
    /// In the transaction, which began before the acquire.
    BeforeAcquire,
}

/// A session of a worker.
pub(super) struct Worker {
    connection: DatabaseConnection,
    client: Client,
    guarded: bool,
}

impl Worker {
    /// Creates the counters, or sets them to 0.
    pub(super) async fn create_counters(connection: &DatabaseConnection, count: u64) {
        let run = async |sql: &str| connection.execute_unprepared(sql).await.unwrap();
        run("CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)").await;
        run("DELETE FROM counter").await;
        for id in 0..count {
            run(&format!("INSERT INTO counter (id, amount) VALUES ({id}, 0)")).await;
        }
    }

    pub(super) async fn connect(url: &str, port: u16, guarded: bool) -> Self {
        let connection = sql::connect(url).await.unwrap();
        Self { connection, client: Client::new(port).with_tenant("default"), guarded }
    }

    fn is_mysql(&self) -> bool {
        self.connection.get_database_backend() == sea_orm::DatabaseBackend::MySql
    }

    fn is_sqlite(&self) -> bool {
        self.connection.get_database_backend() == sea_orm::DatabaseBackend::Sqlite
    }

    async fn run(&self, sql: &str) -> Result<(), DbErr> {
        self.connection.execute_unprepared(sql).await.map(drop)
    }

    async fn amount(&self, key: u64) -> Result<i32, DbErr> {
        let query = format!("SELECT amount FROM counter WHERE id = {key}");
        let query = Statement::from_string(self.connection.get_database_backend(), query);
        let row = self.connection.query_one_raw(query).await?;
        row.ok_or(DbErr::RecordNotFound(String::new()))?.try_get_by_index(0)
    }

    async fn guard(&self, key: &str, version: &str) -> Result<(), DbErr> {
        if !self.guarded {
            return Ok(());
        }
        let call = match self.connection.get_database_backend() {
            sea_orm::DatabaseBackend::Sqlite => {
                format!("INSERT INTO db_locks_guard (key, version) VALUES ('{key}', '{version}')")
            }
            sea_orm::DatabaseBackend::Postgres => format!("SELECT db_locks_guard('{key}', '{version}')"),
            _ => format!("CALL db_locks_guard('{key}', '{version}')"),
        };
        self.run(&call).await
    }

    /// Increments the counter under the lock. Returns whether that was committed; `None` if the lock was not granted.
    pub(super) async fn count_up(&mut self, key: u64, lease_ms: u64) -> Option<bool> {
        let name = format!("counter-{}-{key}", self.guarded);
        let reads = match rand::random_range(0..3) {
            0 => Reads::InTransaction,
            1 if !self.is_sqlite() => Reads::BeforeAcquire,
            _ => Reads::BeforeTransaction,
        };
        let early = match reads {
            Reads::BeforeAcquire => self.begin_early(key).await.ok(),
            Reads::InTransaction | Reads::BeforeTransaction => None,
        };
        let ask = json!({"guarded": self.guarded, "lease_duration_ms": lease_ms, "wait_ms": 10_000});
        let answer = self.client.try_post(&format!("/locks/{name}/acquire"), &ask).await;
        let Some(answer) = answer.filter(|answer| answer.status == 200) else {
            drop(self.run("ROLLBACK").await);
            return None;
        };
        let version = answer.body["version"].as_str().unwrap().to_owned();
        let written = self.write(key, &name, &version, reads, early).await;
        if written.is_err() {
            drop(self.run("ROLLBACK").await);
        }
        let release = json!({"version": version});
        drop(self.client.try_post(&format!("/locks/{name}/release"), &release).await);
        Some(written.is_ok())
    }

    /// Begins a transaction and reads, before there is a grant.
    async fn begin_early(&self, key: u64) -> Result<i32, DbErr> {
        if self.is_mysql() {
            // At READ COMMITTED the guard cannot see that.
            self.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
        }
        self.run("BEGIN").await?;
        self.amount(key).await
    }

    async fn write(
        &self,
        key: u64,
        name: &str,
        version: &str,
        reads: Reads,
        early: Option<i32>,
    ) -> Result<(), DbErr> {
        let mut amount = early;
        if reads == Reads::BeforeTransaction {
            amount = Some(self.amount(key).await?);
            self.work().await;
        }
        if reads != Reads::BeforeAcquire {
            self.run(if self.is_sqlite() { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
        }
        self.guard(name, version).await?;
        let amount = match amount {
            Some(amount) => amount,
            None => self.amount(key).await?,
        };
        if !self.is_sqlite() {
            self.work().await;
        }
        self.run(&format!("UPDATE counter SET amount = {} WHERE id = {key}", amount + 1)).await?;
        self.run("COMMIT").await
    }

    /// Work that takes a while.
    async fn work(&self) {
        let pause = Duration::from_millis(rand::random_range(0..30));
        tokio::time::sleep(pause).await;
    }
}
