//! The pools of a store, and who may use how many connections.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, ExecResult, QueryResult, Statement,
    sqlx::{self, ConnectOptions, Connection},
};
use tokio::time::timeout;

use super::{
    PoolUse, StoreError,
    classify::{Purpose, classify},
    connect::{connect_sea_orm, sqlite_session},
    dialect::Dialect,
    pool::{CONNECT_TIMEOUT, Health, Pool, PoolOptions, Transaction, not_connected},
    postgres::Replication,
    session::{Session, plain_mysql_options, plain_postgres_options, pools_transactions},
    url::DatabaseOptions,
};

/// How long a statement may run on the server. Tombstones outlive it by far.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for lists, counts and sweeping: nobody waits for longer.
const GENERAL_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer is waited for where a caller's lease may depend on it. A lock on a row is waited for 2 s.
const HOT_ANSWER: Duration = Duration::from_secs(3);
/// The same for lists, counts and sweeping.
const GENERAL_ANSWER: Duration = Duration::from_secs(5);
/// How long these wait for one another.
const GENERAL_WAIT: Duration = Duration::from_secs(2);
/// The same for membership: a replica whose beat stands still for 3 s is taken for dead.
const MEMBERSHIP_ANSWER: Duration = Duration::from_millis(1_200);
/// Connections that only read a SQLite file.
const SQLITE_READERS: usize = 2;

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) dialect: Dialect,
    /// For batches, loads and transactions.
    pub(super) hot_pool: AnyPool,
    /// For lists, counts and sweeping: what may take long, and is not allowed to delay anything else.
    pub(super) general_pool: AnyPool,
    /// For beats, joins and reaping, and for readiness: nothing else may keep these waiting.
    pub(super) membership_pool: AnyPool,
    /// On SQLite the connection that writes what is not a batch: see `writer`.
    pub(super) sqlite_writer: Option<DatabaseConnection>,
    /// Shared by all pools of servers.
    pub(super) health: Arc<Health>,
    /// On PostgreSQL, whether what was committed would survive a failover.
    pub(super) replication: Option<Replication>,
    /// Whether a pooler between gives each transaction another session.
    pub(super) transaction_pooling: bool,
}

/// How many connections each pool may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    hot: usize,
    /// Of the hot ones, those that may be inside of transactions.
    transactions: usize,
    general: usize,
    membership: usize,
}

impl Shares {
    /// Divides so many connections. There are at least three: one for each pool.
    fn of(connections: u32) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX).max(3);
        let membership = if connections < 8 { 1 } else { 2 };
        let general = (connections / 5).max(1);
        let hot = connections - membership - general;
        // Others than batches in transactions need some, too; a batch in a transaction needs one.
        Self { hot, transactions: hot.div_ceil(3).max(hot.saturating_sub(2)), general, membership }
    }
}

impl Pools {
    pub(super) async fn connect(options: &DatabaseOptions) -> Result<Self, StoreError> {
        let connected = if options.is_sqlite() {
            Self::of_sqlite(options).await
        } else if options.url().starts_with("mysql:") {
            Self::of_mysql(options).await
        } else {
            Self::of_postgres(options).await
        };
        connected.map_err(|error| classify(error, Purpose::Read))
    }

    async fn of_sqlite(options: &DatabaseOptions) -> Result<Self, DbErr> {
        let writer = connect_sea_orm(options).await?;
        // Whoever writes with it does the waiting: see `writer`.
        writer.execute_unprepared("PRAGMA busy_timeout = 0").await?;
        let url: sqlx::sqlite::SqliteConnectOptions = options.url().parse().map_err(not_connected)?;
        let shares = Shares { hot: SQLITE_READERS, transactions: 1, general: 1, membership: 1 };
        let pools = Self::new(
            Dialect::Sqlite,
            shares,
            &sqlite_session(url).disable_statement_logging(),
            false,
            AnyPool::Sqlite,
        );
        Ok(Self { sqlite_writer: Some(writer), ..pools })
    }

    /// The pools, if a pooler of transactions stands before the server and nothing leads past it.
    pub(super) async fn behind_transaction_pooling(
        options: &DatabaseOptions,
    ) -> Result<Option<Self>, StoreError> {
        if !options.url().starts_with("postgres") || options.notify_url().is_some() {
            return Ok(None);
        }
        let pools = Self::connect(options).await?;
        Ok(Some(pools).filter(|pools| pools.transaction_pooling))
    }

    async fn of_postgres(options: &DatabaseOptions) -> Result<Self, DbErr> {
        let url: sqlx::postgres::PgConnectOptions = options.url().parse().map_err(not_connected)?;
        let url = plain_postgres_options(url);
        let transaction_pooling = timeout(CONNECT_TIMEOUT, pools_transactions(&url)).await;
        let transaction_pooling = transaction_pooling.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
        let transaction_pooling = transaction_pooling.map_err(not_connected)?;
        if transaction_pooling {
            log_transaction_pooling(options);
        }
        let shares = Shares::of(options.max_connections());
        let replication = Replication::new(url.clone());
        if !replication.hears_warnings().await.map_err(not_connected)? {
            return Err(DbErr::Custom("the driver keeps the server's warnings to itself".to_owned()));
        }
        let pools = Self::new(Dialect::Postgres, shares, &url, transaction_pooling, AnyPool::Postgres);
        Ok(Self { replication: Some(replication), ..pools })
    }

    async fn of_mysql(options: &DatabaseOptions) -> Result<Self, DbErr> {
        let url: sqlx::mysql::MySqlConnectOptions = options.url().parse().map_err(not_connected)?;
        let url = plain_mysql_options(url);
        let dialect = dialect_of(&url).await.map_err(not_connected)?;
        let shares = Shares::of(options.max_connections());
        Ok(Self::new(dialect, shares, &url, false, AnyPool::MySql))
    }

    /// How the connections of each pool are used.
    pub(super) fn usage(&self) -> Vec<PoolUse> {
        let pools =
            [("hot", &self.hot_pool), ("general", &self.general_pool), ("membership", &self.membership_pool)];
        pools.map(|(name, pool)| pool.usage(name)).to_vec()
    }

    fn new<DB: super::session::Driver>(
        dialect: Dialect,
        shares: Shares,
        options: &<DB::Connection as Connection>::Options,
        transaction_pooling: bool,
        kind: fn(Pool<DB>) -> AnyPool,
    ) -> Self {
        let health = Arc::<Health>::default();
        let pool = |statement_timeout, size| {
            let session = Session::new(dialect, statement_timeout, transaction_pooling);
            kind(Pool::new(options.clone(), session, size, health.clone()))
        };
        let Shares { hot, transactions, general, membership } = shares;
        let size = |connections, transactions, wait_timeout, answer_timeout| PoolOptions {
            connections,
            transactions,
            wait_timeout,
            answer_timeout,
        };
        Self {
            dialect,
            hot_pool: pool(STATEMENT_TIMEOUT, size(hot, transactions, HOT_ANSWER, HOT_ANSWER)),
            general_pool: pool(
                GENERAL_STATEMENT_TIMEOUT,
                size(general, general, GENERAL_WAIT, GENERAL_ANSWER),
            ),
            membership_pool: pool(
                STATEMENT_TIMEOUT,
                size(membership, membership, MEMBERSHIP_ANSWER, MEMBERSHIP_ANSWER),
            ),
            sqlite_writer: None,
            replication: None,
            health,
            transaction_pooling,
        }
    }
}

fn log_transaction_pooling(options: &DatabaseOptions) {
    let hand_overs = if options.notify_url().is_some() {
        "hand-overs between replicas are announced past it"
    } else {
        "hand-overs between replicas are polled for; DB_LOCKS_NOTIFY_URL can name the server itself"
    };
    tracing::info!(
        "a pooler in transaction mode is in front of the database: each statement takes more round trips, and {hand_overs}"
    );
}

/// MariaDB and MySQL speak one protocol.
async fn dialect_of(options: &sqlx::mysql::MySqlConnectOptions) -> Result<Dialect, sqlx::Error> {
    use sqlx::Row;
    let mut connection = sqlx::MySqlConnection::connect_with(options).await?;
    let row = sqlx::raw_sql("SELECT CAST(VERSION() AS CHAR)").fetch_one(&mut connection).await?;
    let version: String = row.try_get(0)?;
    let _ = connection.close().await;
    let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
    Ok(if is_mariadb { Dialect::MariaDb } else { Dialect::MySql })
}

/// A pool of one of the drivers.
#[derive(Debug)]
pub(super) enum AnyPool {
    Sqlite(Pool<sqlx::Sqlite>),
    Postgres(Pool<sqlx::Postgres>),
    MySql(Pool<sqlx::MySql>),
}

impl AnyPool {
    /// How its connections are used.
    fn usage(&self, name: &'static str) -> PoolUse {
        let (in_use, idle, limit) = match self {
            Self::Sqlite(pool) => pool.usage(),
            Self::Postgres(pool) => pool.usage(),
            Self::MySql(pool) => pool.usage(),
        };
        let count = |connections: usize| u32::try_from(connections).unwrap_or(u32::MAX);
        PoolUse { pool: name, in_use: count(in_use), idle: count(idle), limit: count(limit) }
    }

    /// Begins a transaction on a server.
    pub(super) async fn begin(&self) -> Result<AnyTransaction<'_>, DbErr> {
        Ok(match self {
            Self::Sqlite(_) => return Err(DbErr::Custom("SQLite has a writer of its own".to_owned())),
            Self::Postgres(pool) => AnyTransaction::Postgres(pool.begin().await?),
            Self::MySql(pool) => AnyTransaction::MySql(pool.begin().await?),
        })
    }
}

/// A transaction on one of the servers.
pub(super) enum AnyTransaction<'p> {
    Postgres(Transaction<'p, sqlx::Postgres>),
    MySql(Transaction<'p, sqlx::MySql>),
}

impl AnyTransaction<'_> {
    /// Commits what succeeded, and rolls back what did not.
    pub(super) async fn end<T>(self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        match self {
            Self::Postgres(transaction) => transaction.end(result).await,
            Self::MySql(transaction) => transaction.end(result).await,
        }
    }
}

#[async_trait]
impl ConnectionTrait for AnyPool {
    fn get_database_backend(&self) -> DatabaseBackend {
        match self {
            Self::Sqlite(_) => DatabaseBackend::Sqlite,
            Self::Postgres(_) => DatabaseBackend::Postgres,
            Self::MySql(_) => DatabaseBackend::MySql,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(pool) => pool.execute(statement).await,
            Self::Postgres(pool) => pool.execute(statement).await,
            Self::MySql(pool) => pool.execute(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.get_database_backend(), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(pool) => pool.query(statement).await,
            Self::Postgres(pool) => pool.query(statement).await,
            Self::MySql(pool) => pool.query(statement).await,
        }
    }
}

#[async_trait]
impl ConnectionTrait for AnyTransaction<'_> {
    fn get_database_backend(&self) -> DatabaseBackend {
        match self {
            Self::Postgres(_) => DatabaseBackend::Postgres,
            Self::MySql(_) => DatabaseBackend::MySql,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Postgres(transaction) => transaction.execute_raw(statement).await,
            Self::MySql(transaction) => transaction.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.get_database_backend(), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Postgres(transaction) => transaction.query_all_raw(statement).await,
            Self::MySql(transaction) => transaction.query_all_raw(statement).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pool_has_connections_and_none_has_too_many() {
        for connections in 3..=1_000 {
            let Shares { hot, transactions, general, membership } = Shares::of(connections);
            assert_eq!(hot + general + membership, connections as usize);
            assert!(membership >= 1 && general >= 1 && hot >= 1, "{connections}");
            assert!((1..=hot).contains(&transactions), "{connections}");
            assert!(hot >= general, "{connections}");
        }
        assert_eq!(Shares::of(10), Shares { hot: 6, transactions: 4, general: 2, membership: 2 });
    }
}
