//! The lock under which migrations run: one process at a time changes the schema. Every version of db-locks takes the same
//! lock.
//!
//! On PostgreSQL and SQLite the lock ends with a transaction that also contains the whole change, so nothing is left
//! half done. On MariaDB and MySQL the lock belongs to a connection. On a Galera cluster it is local to a node, so a
//! row is needed, too (see `cluster_lock`).

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use tokio::time::Instant;

use super::{
    super::{classify::is_busy, connect::connect_alone, dialect::Dialect, routines, url::DatabaseOptions},
    SchemaChange, StoreError, cluster_lock, failed,
};

/// The name of the lock on MariaDB and MySQL.
const NAME: &str = "db_locks_migrate";
/// The number of the lock on PostgreSQL: the ASCII codes of `dblocks`.
const NUMBER: i64 = 0x0064_626c_6f63_6b73;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a process waits before it logs what it is waiting for.
const FIRST_LOG_AFTER: Duration = Duration::from_secs(1);
/// The interval of the same log line from then on.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The result of an attempt.
enum Attempt {
    /// The change is done.
    Done,
    /// Another process holds the lock. The text says which one, for the log.
    Held(String),
}

/// A bounded wait for other processes, which the log reports.
pub(super) struct Wait {
    started_at: Instant,
    at_most: Duration,
    log_at: Instant,
}

impl Wait {
    pub(super) fn new(at_most: Duration) -> Self {
        let started_at = Instant::now();
        Self { started_at, at_most, log_at: started_at + FIRST_LOG_AFTER }
    }

    /// Pauses before the next attempt. Fails once the whole wait has lasted `at_most`.
    pub(super) async fn pause(&mut self, holder: &str) -> Result<(), StoreError> {
        if self.started_at.elapsed() >= self.at_most {
            return Err(StoreError::Schema(format!(
                "waited {} ms for another migration, or for sessions that use its tables ({holder}), and gave up; end \
                 the session that hangs, or wait longer with DB_LOCKS_MIGRATE_WAIT_MS",
                self.at_most.as_millis()
            )));
        }
        if Instant::now() >= self.log_at {
            self.log_at = Instant::now() + LOG_EVERY;
            let waited_s = self.started_at.elapsed().as_secs();
            tracing::warn!(holder, waited_s, "waiting for another migration of this database to end");
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Connects. Waits for a SQLite file that another process has locked exclusively: that may be a migration.
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

/// Makes a change under the lock. Waits while another process holds the lock.
pub(super) async fn under_lock(
    db: &DatabaseConnection,
    dialect: Dialect,
    wait: &mut Wait,
    change: SchemaChange,
) -> Result<(), StoreError> {
    loop {
        let attempt = match dialect {
            Dialect::Sqlite | Dialect::Postgres => try_in_transaction(db, dialect, change).await,
            Dialect::MariaDb | Dialect::MySql => try_on_connection(db, dialect, change).await,
        };
        let holder = match attempt {
            Ok(Attempt::Done) => return Ok(()),
            Ok(Attempt::Held(holder)) => holder,
            Err(StoreError::Transient(cause) | StoreError::Blocked(cause)) => cause.to_string(),
            Err(error) => return Err(error),
        };
        wait.pause(&holder).await?;
    }
}

async fn try_in_transaction(
    db: &DatabaseConnection,
    dialect: Dialect,
    change: SchemaChange,
) -> Result<Attempt, StoreError> {
    let options = TransactionOptions {
        sqlite_transaction_mode: (dialect == Dialect::Sqlite).then_some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = match db.begin_with_options(options).await {
        Ok(transaction) => transaction,
        Err(error) if is_busy(&error) => {
            return Ok(Attempt::Held("another process writes to the file".to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    if dialect == Dialect::Postgres {
        let take = format!("SELECT pg_try_advisory_xact_lock({NUMBER})");
        let row = transaction.query_one_raw(dialect.statement(&take, [])).await.map_err(failed)?;
        let is_ours = row.map_or(Ok(false), |row| row.try_get_by_index(0)).map_err(failed)?;
        if !is_ours {
            let attempt = name_holder(&transaction, dialect).await;
            transaction.rollback().await.map_err(failed)?;
            return Ok(attempt);
        }
        // To change a large table takes longer than the service allows its statements.
        transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await.map_err(failed)?;
    }
    match Box::pin(change.run(&transaction, dialect)).await {
        Ok(()) => transaction.commit().await.map_err(failed)?,
        Err(error) => {
            transaction.rollback().await.map_err(failed)?;
            return Err(error);
        }
    }
    Ok(Attempt::Done)
}

async fn try_on_connection(
    db: &DatabaseConnection,
    dialect: Dialect,
    change: SchemaChange,
) -> Result<Attempt, StoreError> {
    let take = format!("SELECT CAST(GET_LOCK('{NAME}', 1) AS SIGNED)");
    let row = db.query_one_raw(dialect.statement(&take, [])).await.map_err(failed)?;
    let taken: Option<i64> = row.map_or(Ok(None), |row| row.try_get_by_index(0)).map_err(failed)?;
    // 0: the lock was not free in time; null: an error, such as a killed session.
    if taken != Some(1) {
        return Ok(name_holder(db, dialect).await);
    }
    let result = Box::pin(async {
        if cluster_lock::is_needed(db, dialect).await.map_err(failed)? {
            return try_on_cluster(db, dialect, change).await;
        }
        change.run(db, dialect).await.map(|()| Attempt::Done)
    });
    let result = result.await;
    let released = db.execute_unprepared(&format!("DO RELEASE_LOCK('{NAME}')")).await;
    let attempt = result?;
    released.map_err(failed)?;
    Ok(attempt)
}

async fn try_on_cluster(
    db: &DatabaseConnection,
    dialect: Dialect,
    change: SchemaChange,
) -> Result<Attempt, StoreError> {
    if !cluster_lock::take(db, dialect).await.map_err(failed)? {
        return Ok(Attempt::Held("a replica at this or another node of the cluster".to_owned()));
    }
    let result = change.run(db, dialect).await;
    if result.is_ok() && change != SchemaChange::Down {
        // Also under the lock: the routines are missing while they are replaced. If this fails, it is
        // tried again later, and an error is logged then.
        drop(routines::create_if_missing(db, dialect).await);
    }
    let given_back = cluster_lock::give_back(db).await;
    result?;
    given_back.map_err(failed)?;
    Ok(Attempt::Done)
}

/// Fails if the lock is no longer held: the pool may have replaced a broken connection by one without the lock.
pub(super) async fn check_held(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    if !matches!(dialect, Dialect::MariaDb | Dialect::MySql) {
        return Ok(());
    }
    let held = format!("SELECT CAST(IS_USED_LOCK('{NAME}') = CONNECTION_ID() AS SIGNED)");
    let row = db.query_one_raw(dialect.statement(&held, [])).await.map_err(failed)?;
    let held: Option<i64> = row.map_or(Ok(None), |row| row.try_get_by_index(0)).map_err(failed)?;
    if held != Some(1) {
        return Err(StoreError::Unreachable("the migrations' lock was lost".into()));
    }
    if cluster_lock::is_needed(db, dialect).await.map_err(failed)?
        && !cluster_lock::keep(db, dialect).await.map_err(failed)?
    {
        return Err(StoreError::Transient("the migrations' lock was lost to another node".into()));
    }
    Ok(())
}

/// Names the session that holds the lock, as far as this user may see it.
async fn name_holder(db: &impl ConnectionTrait, dialect: Dialect) -> Attempt {
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
    Attempt::Held(match session {
        Some(session) => format!("session {session} holds the lock {NAME}"),
        None => format!("another session holds the lock {NAME}"),
    })
}
