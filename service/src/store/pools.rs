//! The pools of a store, and how the connections are divided among them.

use std::{sync::Arc, time::Duration};

use sea_orm::{
    DbErr,
    sqlx::{self, ConnectOptions, sqlite::SqliteConnectOptions},
};
use tokio::time::timeout;

use super::{
    PoolUse, StoreError,
    classify::{Purpose, classify},
    connect::{mysql_dialect, mysql_options, postgres_options, prepare_file},
    dialect::Dialect,
    fence::EpochWatch,
    health::Health,
    pool::{CONNECT_TIMEOUT, Pool, PoolOptions, not_connected},
    postgres::{Replication, pools_transactions},
    servers::Servers,
    session::{Driver, Session},
    sqlite,
    url::DatabaseOptions,
    writer::AnyPool,
};

/// How long a statement may run on the server. Tombstones are kept for far longer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement of lists, counts and sweeping may run. No caller waits longer.
const GENERAL_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer that a caller's lease may depend on.
const HOT_ANSWER: Duration = Duration::from_secs(3);
/// How long lists, counts and sweeping wait for an answer.
const GENERAL_ANSWER: Duration = Duration::from_secs(5);
/// How long lists, counts and sweeping wait for a connection.
const GENERAL_WAIT: Duration = Duration::from_secs(2);
/// How long membership waits for a connection, and for an answer. A replica whose heartbeat counter stands still for 3 s is declared
/// dead.
const MEMBERSHIP_ANSWER: Duration = Duration::from_millis(1_200);
/// The pool for writes to a SQLite file. They take turns before they ask for the connection.
const WRITER: PoolOptions = PoolOptions {
    connections: 1,
    transactions: 1,
    wait_timeout: GENERAL_WAIT,
    answer_timeout: GENERAL_ANSWER,
};
/// Number of connections that only read a SQLite file for the hot pool.
const SQLITE_READERS: usize = 2;
/// The number of connections from which on the general pool has two: one for lists, and one for what must not wait for them.
const TWO_GENERAL_FROM: usize = 5;

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) dialect: Dialect,
    /// For batches, loads and transactions.
    pub(super) hot_pool: AnyPool,
    /// For lists, counts, sweeping and changes of tokens, which may take long and must not delay anything else. Lists leave one
    /// connection to the others, unless there is only one: see `lists::turns`.
    pub(super) general_pool: AnyPool,
    /// For heartbeats of replicas, joins, reaping and readiness, which nothing else may delay.
    pub(super) membership_pool: AnyPool,
    /// On SQLite for all writes except batches: one connection, which no statement outside of a transaction uses.
    pub(super) sqlite_writer: Option<Pool<sqlx::Sqlite>>,
    /// Shared by all pools of servers.
    pub(super) health: Arc<Health>,
    /// On PostgreSQL, checks whether a commit would survive a failover.
    pub(super) replication: Option<Replication>,
    /// On PostgreSQL, the servers that send notifications; `None` if no session can listen to one.
    pub(super) listened_to: Option<Arc<Servers<sqlx::Postgres>>>,
    /// The known epoch of fencing tokens, shared by all pools.
    pub(super) epochs: Arc<EpochWatch>,
    /// Whether a pooler gives each transaction another session.
    pub(super) transaction_pooling: bool,
}

/// Number of connections that each pool may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    hot: usize,
    /// How many of the hot connections may be inside transactions.
    transactions: usize,
    general: usize,
    membership: usize,
}

impl Shares {
    /// Divides `connections` among the pools: at least three, one for each pool.
    fn of(connections: u32) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX).max(3);
        let membership = if connections < 8 { 1 } else { 2 };
        let general = (connections / 5).max(if connections < TWO_GENERAL_FROM { 1 } else { 2 });
        let hot = connections - membership - general;
        // Statements outside of transactions need connections, too; transactions need at least one.
        Self { hot, transactions: hot.div_ceil(3).max(hot.saturating_sub(2)), general, membership }
    }
}

impl Pools {
    pub(super) async fn connect(options: &DatabaseOptions) -> Result<Self, StoreError> {
        let connected = if options.is_sqlite() {
            Self::of_sqlite(options).await
        } else if !options.is_postgres() {
            Self::of_mysql(options).await
        } else {
            Self::of_postgres(options).await
        };
        connected.map_err(|error| classify(error, Purpose::Read))
    }

    async fn of_sqlite(options: &DatabaseOptions) -> Result<Self, DbErr> {
        prepare_file(options)?;
        let connect = |url: &str| {
            let file: SqliteConnectOptions = url.parse()?;
            Ok(sqlite::connect_options(file).disable_statement_logging())
        };
        let servers = || {
            Servers::<sqlx::Sqlite>::start(options.hosts(), connect, Arc::default()).map_err(not_connected)
        };
        // With a health of its own: a writer who gave up waiting for the file says nothing about connections that read.
        let writer = Pool::new(
            servers()?,
            sqlx::Sqlite::session(Dialect::Sqlite, GENERAL_STATEMENT_TIMEOUT, false),
            WRITER,
        );
        // SQLite creates its file with the first connection. The threads that read and write batches need the file.
        writer.test().await?;
        let servers = servers()?;
        let shares = Shares { hot: SQLITE_READERS, transactions: 1, general: 2, membership: 1 };
        let pools = Self::new(Dialect::Sqlite, shares, &servers, false, AnyPool::Sqlite);
        Ok(Self { sqlite_writer: Some(writer), ..pools })
    }

    /// The pools, if a transaction pooler is in front of the server and no other URL leads past it; `None` otherwise.
    pub(super) async fn behind_transaction_pooling(
        options: &DatabaseOptions,
    ) -> Result<Option<Self>, StoreError> {
        if !options.is_postgres() || options.notify_hosts().is_some() {
            return Ok(None);
        }
        let pools = Self::connect(options).await?;
        Ok(Some(pools).filter(|pools| pools.transaction_pooling))
    }

    async fn of_postgres(options: &DatabaseOptions) -> Result<Self, DbErr> {
        let servers =
            Servers::start(options.hosts(), postgres_options, Arc::default()).map_err(not_connected)?;
        let pools = async { pools_transactions(servers.options().await?).await };
        let transaction_pooling = timeout(CONNECT_TIMEOUT, pools).await;
        let transaction_pooling = transaction_pooling.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
        let transaction_pooling = transaction_pooling.map_err(not_connected)?;
        if transaction_pooling {
            log_transaction_pooling(options);
        }
        let shares = Shares::of(options.max_connections());
        let replication = Replication::new(servers.clone());
        if !replication.hears_warnings().await.map_err(not_connected)? {
            return Err(DbErr::Custom("the driver does not pass on the server's warnings".to_owned()));
        }
        let listened_to = match options.notify_hosts() {
            Some(hosts) => {
                Some(Servers::start(hosts, postgres_options, Arc::default()).map_err(not_connected)?)
            }
            // Behind a transaction pooler no session lasts long enough to listen.
            None if transaction_pooling => None,
            None => Some(servers.clone()),
        };
        let pools = Self::new(Dialect::Postgres, shares, &servers, transaction_pooling, AnyPool::Postgres);
        Ok(Self { replication: Some(replication), listened_to, ..pools })
    }

    async fn of_mysql(options: &DatabaseOptions) -> Result<Self, DbErr> {
        let servers =
            Servers::start(options.hosts(), mysql_options, Arc::default()).map_err(not_connected)?;
        let dialect = async { mysql_dialect(servers.options().await?).await };
        let dialect = dialect.await.map_err(not_connected)?;
        let shares = Shares::of(options.max_connections());
        Ok(Self::new(dialect, shares, &servers, false, AnyPool::MySql))
    }

    /// Use of the connections, by pool.
    pub(super) fn usage(&self) -> Vec<PoolUse> {
        let pools =
            [("hot", &self.hot_pool), ("general", &self.general_pool), ("membership", &self.membership_pool)];
        pools.map(|(name, pool)| pool.usage(name)).to_vec()
    }

    fn new<DB: Driver>(
        dialect: Dialect,
        shares: Shares,
        servers: &Arc<Servers<DB>>,
        transaction_pooling: bool,
        kind: fn(Pool<DB>) -> AnyPool,
    ) -> Self {
        let epochs = Arc::<EpochWatch>::default();
        let pool = |statement_timeout, size| {
            let session = DB::session(dialect, statement_timeout, transaction_pooling);
            let session = Session { epochs: epochs.clone(), ..session };
            kind(Pool::new(servers.clone(), session, size))
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
            listened_to: None,
            health: servers.health().clone(),
            epochs,
            transaction_pooling,
        }
    }
}

fn log_transaction_pooling(options: &DatabaseOptions) {
    let hand_overs = if options.notify_hosts().is_some() {
        "hand-overs between replicas are announced past it"
    } else {
        "hand-overs between replicas are polled for; DB_LOCKS_NOTIFY_URL can name the server itself"
    };
    tracing::info!(
        "a pooler in transaction mode is in front of the database: each statement takes more round trips, and {hand_overs}"
    );
}

#[cfg(test)]
mod tests;
