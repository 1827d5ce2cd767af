//! A user of the database that proves in each transaction that nobody else writes, with the guard or in another way.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tokio_postgres::types::ToSql;

use super::{Failure, Session, connect_mysql};
use crate::{plan::Proof, site::Target};

/// A row of the user's own, to be locked.
const ROWS: &str = "CREATE TABLE IF NOT EXISTS user_rows (name VARCHAR(100) PRIMARY KEY)";
/// The name of the row.
const ROW: &str = "INSERT INTO user_rows VALUES ('row')";

/// A session with its statement prepared.
pub(crate) enum User {
    /// In a `SQLite` file.
    Sqlite { connection: rusqlite::Connection, key: String, version: String },
    /// On `PostgreSQL`.
    Postgres { session: Session, proof: tokio_postgres::Statement, values: Vec<String> },
    /// On `MariaDB` or `MySQL`.
    MySql { connection: mysql_async::Conn, proof: mysql_async::Statement, values: Vec<String> },
}

impl User {
    /// Connects to the database of the locks, and prepares a proof for the grant of this version.
    pub(crate) async fn connect(
        target: &Target,
        proof: Proof,
        key: &str,
        version: &str,
    ) -> Result<Self, Failure> {
        let values = match proof {
            Proof::Guard => vec![key.to_owned(), version.to_owned()],
            Proof::RowLock => vec!["row".to_owned()],
            Proof::AdvisoryLock => vec![key.to_owned()],
        };
        if let Some(file) = target.url.strip_prefix("sqlite://") {
            let file = file.split('?').next().unwrap_or_default();
            let connection =
                rusqlite::Connection::open(file).map_err(|error| Failure::driver("open", &error))?;
            return Ok(Self::Sqlite { connection, key: key.to_owned(), version: version.to_owned() });
        }
        let address = target.database.ok_or(Failure::Unsupported("a transaction"))?;
        if target.url.starts_with("postgres") {
            let mut session = Session::connect(address, "locks").await?;
            session.batch(&format!("{ROWS}; {ROW} ON CONFLICT DO NOTHING")).await?;
            let proof = session
                .prepare(match proof {
                    Proof::Guard => "SELECT db_locks_guard($1::text, $2::text)",
                    Proof::RowLock => "SELECT 1 FROM user_rows WHERE name = $1 FOR UPDATE",
                    Proof::AdvisoryLock => "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
                })
                .await?;
            return Ok(Self::Postgres { session, proof, values });
        }
        let mut connection = connect_mysql(address, Some("locks")).await?;
        let row = format!("{ROW} ON DUPLICATE KEY UPDATE name = name");
        for statement in [ROWS, &row] {
            let done = connection.query_drop(statement).await;
            done.map_err(|error| Failure::driver("prepare", &error))?;
        }
        let proof = match proof {
            Proof::Guard => "CALL db_locks_guard(?, ?)",
            Proof::RowLock => "SELECT 1 FROM user_rows WHERE name = ? FOR UPDATE",
            Proof::AdvisoryLock => return Err(Failure::Unsupported("an advisory lock of a transaction")),
        };
        let proof = connection.prep(proof).await.map_err(|error| Failure::driver("prepare", &error))?;
        Ok(Self::MySql { connection, proof, values })
    }

    /// Runs one transaction that contains only the proof. Returns the time that the proof took.
    pub(crate) async fn transaction(&mut self) -> Result<Duration, Failure> {
        match self {
            Self::Sqlite { connection, key, version } => {
                let run = || {
                    let mut proof =
                        connection.prepare("INSERT INTO db_locks_guard (key, version) VALUES (?, ?)")?;
                    connection.execute_batch("BEGIN IMMEDIATE")?;
                    let began = Instant::now();
                    proof.execute([key.as_str(), version.as_str()])?;
                    let took = began.elapsed();
                    connection.execute_batch("COMMIT")?;
                    Ok(took)
                };
                run().map_err(|error: rusqlite::Error| Failure::driver("transaction", &error))
            }
            Self::Postgres { session, proof, values } => {
                session.batch("BEGIN").await?;
                let values: Vec<_> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                let began = Instant::now();
                session.query("proof", proof, &values).await?;
                let took = began.elapsed();
                session.batch("COMMIT").await?;
                Ok(took)
            }
            Self::MySql { connection, proof, values } => {
                let run = async {
                    connection.query_drop("BEGIN").await?;
                    let began = Instant::now();
                    connection.exec_drop(&*proof, values.clone()).await?;
                    let took = began.elapsed();
                    connection.query_drop("COMMIT").await?;
                    Ok(took)
                };
                run.await.map_err(|error: mysql_async::Error| Failure::driver("transaction", &error))
            }
        }
    }
}
