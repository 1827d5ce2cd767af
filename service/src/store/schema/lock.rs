//! The lock under which migrations run: one process at a time changes the schema. It is the one that every version takes.
//!
//! On PostgreSQL and SQLite it lasts as long as a transaction that holds the whole change too, so that nothing is left half
//! done. On MariaDB and MySQL it belongs to a connection.

use std::time::Duration;

use db_locks_migration::SchemaManager;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use tokio::time::Instant;

use super::{
    super::{classify::is_busy, connect::connect_alone, dialect::Dialect, url::DatabaseOptions},
    StoreError, Task, failed,
};

/// Its name on MariaDB and MySQL.
const NAME: &str = "db_locks_migrate";
/// Its number on PostgreSQL: the ASCII codes of `dblocks`.
const NUMBER: i64 = 0x0064_626c_6f63_6b73;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// After so long the log says what is waited for, and again after [`SAY_AGAIN`].
const SAY_AFTER: Duration = Duration::from_secs(1);
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// How long a change of a table waits for those who use it, on MariaDB and MySQL, in seconds. Without it: a year.
const MYSQL_TABLE_WAIT_S: u32 = 5;

/// What came of a try.
enum Tried {
    /// The task is done.
    Done,
    /// Somebody else has the lock, or a table that the task needs.
    Held(String),
}

/// A wait for others that comes to an end, and of which the log tells.
pub(super) struct Wait {
    begun: Instant,
    at_most: Duration,
    say_at: Instant,
}

impl Wait {
    pub(super) fn new(at_most: Duration) -> Self {
        let begun = Instant::now();
        Self { begun, at_most, say_at: begun + SAY_AFTER }
    }

    /// Waits a little for those who are in the way, unless that has been done for long enough.
    async fn pause(&mut self, held_by: &str) -> Result<(), StoreError> {
        if self.begun.elapsed() >= self.at_most {
            return Err(StoreError::Schema(format!(
                "waited {} ms for another migration, or for those who use its tables, in vain ({held_by}); end what \
                 hangs, or wait longer with DB_LOCKS_MIGRATE_WAIT_MS",
                self.at_most.as_millis()
            )));
        }
        if Instant::now() >= self.say_at {
            self.say_at = Instant::now() + SAY_AGAIN;
            let waited_s = self.begun.elapsed().as_secs();
            tracing::warn!(held_by, waited_s, "waiting for another migration of this database to end");
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Connects. A SQLite file that another process has to itself is waited for: a migration may be why.
pub(super) async fn connect(
    options: &DatabaseOptions,
    wait: &mut Wait,
) -> Result<(DatabaseConnection, Dialect), StoreError> {
    loop {
        match Box::pin(connect_alone(options)).await {
            Err(StoreError::Transient(cause)) => wait.pause(&cause.to_string()).await?,
            connected => return connected,
        }
    }
}

/// Carries out a task while nobody else does. Waits for those who do.
pub(super) async fn under_lock(
    db: &DatabaseConnection,
    dialect: Dialect,
    wait: &mut Wait,
    task: Task,
) -> Result<(), StoreError> {
    loop {
        let tried = match dialect {
            Dialect::Sqlite | Dialect::Postgres => try_in_transaction(db, dialect, task).await,
            Dialect::MariaDb | Dialect::MySql => try_on_connection(db, dialect, task).await,
        };
        let held_by = match tried {
            Ok(Tried::Done) => return Ok(()),
            Ok(Tried::Held(by)) => by,
            Err(StoreError::Transient(cause)) => cause.to_string(),
            Err(error) => return Err(error),
        };
        wait.pause(&held_by).await?;
    }
}

async fn try_in_transaction(
    db: &DatabaseConnection,
    dialect: Dialect,
    task: Task,
) -> Result<Tried, StoreError> {
    let options = TransactionOptions {
        sqlite_transaction_mode: (dialect == Dialect::Sqlite).then_some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = match db.begin_with_options(options).await {
        Ok(transaction) => transaction,
        Err(error) if is_busy(&error) => {
            return Ok(Tried::Held("another process writes to the file".to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    if dialect == Dialect::Postgres {
        let take = format!("SELECT pg_try_advisory_xact_lock({NUMBER})");
        let row = transaction.query_one_raw(dialect.statement(&take, [])).await.map_err(failed)?;
        let is_ours = row.map_or(Ok(false), |row| row.try_get_by_index(0)).map_err(failed)?;
        if !is_ours {
            let held = held_by(&transaction, dialect).await;
            transaction.rollback().await.map_err(failed)?;
            return Ok(held);
        }
        // A change of a large table takes longer than a statement of the service may.
        transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await.map_err(failed)?;
    }
    match Box::pin(task.carry_out(&SchemaManager::new(&transaction), dialect)).await {
        Ok(()) => transaction.commit().await.map_err(failed)?,
        Err(error) => {
            transaction.rollback().await.map_err(failed)?;
            return Err(error);
        }
    }
    Ok(Tried::Done)
}

async fn try_on_connection(
    db: &DatabaseConnection,
    dialect: Dialect,
    task: Task,
) -> Result<Tried, StoreError> {
    let patience = format!("SET SESSION lock_wait_timeout = {MYSQL_TABLE_WAIT_S}");
    db.execute_unprepared(&patience).await.map_err(failed)?;
    let take = format!("SELECT CAST(GET_LOCK('{NAME}', 1) AS SIGNED)");
    let row = db.query_one_raw(dialect.statement(&take, [])).await.map_err(failed)?;
    let taken: Option<i64> = row.map_or(Ok(None), |row| row.try_get_by_index(0)).map_err(failed)?;
    // 0: not in time; null: an error, such as a session that was killed.
    if taken != Some(1) {
        return Ok(held_by(db, dialect).await);
    }
    let result = Box::pin(task.carry_out(&SchemaManager::new(db), dialect)).await;
    let released = db.execute_unprepared(&format!("DO RELEASE_LOCK('{NAME}')")).await;
    result?;
    released.map_err(failed)?;
    Ok(Tried::Done)
}

/// Whether the lock is still held. A connection that broke may have been replaced by another without it.
pub(super) async fn check_held(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    if !matches!(dialect, Dialect::MariaDb | Dialect::MySql) {
        return Ok(());
    }
    let held = format!("SELECT CAST(IS_USED_LOCK('{NAME}') = CONNECTION_ID() AS SIGNED)");
    let row = db.query_one_raw(dialect.statement(&held, [])).await.map_err(failed)?;
    let held: Option<i64> = row.map_or(Ok(None), |row| row.try_get_by_index(0)).map_err(failed)?;
    if held == Some(1) {
        Ok(())
    } else {
        Err(StoreError::Unreachable("the migrations' lock was lost".into()))
    }
}

/// Who has the lock, as far as this user may know.
async fn held_by(db: &impl ConnectionTrait, dialect: Dialect) -> Tried {
    let query = match dialect {
        Dialect::Postgres => format!(
            "SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND (classid::bigint << 32) + objid::bigint = {NUMBER}"
        ),
        _ => format!("SELECT CAST(IS_USED_LOCK('{NAME}') AS SIGNED)"),
    };
    let session = db.query_one_raw(dialect.statement(&query, [])).await.ok().flatten();
    let session: Option<i64> = session.and_then(|row| row.try_get_by_index(0).ok().flatten());
    Tried::Held(match session {
        Some(session) => format!("session {session} holds the lock {NAME}"),
        None => format!("somebody holds the lock {NAME}"),
    })
}
