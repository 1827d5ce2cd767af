//! The choices of the command line: kinds of work, and peers.

use clap::ValueEnum;
use serde::Serialize;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// (a) acquire and release on distinct keys.
    #[value(alias = "a")]
    Pairs,
    /// (b) heartbeats on held locks.
    #[value(alias = "b")]
    Heartbeats,
    /// (c) hand-over of one hot key, within one replica and over three.
    #[value(alias = "c")]
    Hot,
    /// (d) a semaphore with more clients than permits.
    #[value(alias = "d")]
    Semaphore,
    /// (e) acquire and release on a table that has many rows already.
    #[value(alias = "e")]
    Rows,
    /// (f) acquire and release through one, two and three replicas.
    #[value(alias = "f")]
    Replicas,
    /// (g) what requests cost that wait idly.
    #[value(alias = "g")]
    Idle,
    /// (h) whether waiters over three replicas are granted in order.
    #[value(alias = "h")]
    Order,
    /// (i) acquire and release of guarded locks, and the guard in a transaction.
    #[value(alias = "i")]
    Guard,
    /// (j) acquire and release by the engine in the caller's process.
    #[value(alias = "j")]
    Embedded,
}

impl Work {
    /// All kinds, in the order in which they are reported.
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }
}

/// Whom to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// The service on `SQLite`.
    #[value(name = "db-locks-sqlite")]
    #[serde(rename = "db-locks-sqlite")]
    ServiceSqlite,
    /// The service on `PostgreSQL`.
    #[value(name = "db-locks-postgres")]
    #[serde(rename = "db-locks-postgres")]
    ServicePostgres,
    /// The service on `MariaDB`.
    #[value(name = "db-locks-mariadb")]
    #[serde(rename = "db-locks-mariadb")]
    ServiceMariadb,
    /// The service on `MySQL`.
    #[value(name = "db-locks-mysql")]
    #[serde(rename = "db-locks-mysql")]
    ServiceMysql,
    /// The service's `/health`: the ceiling of HTTP here.
    Health,
    /// etcd through its HTTP gateway.
    EtcdGateway,
    /// etcd over gRPC.
    EtcdGrpc,
    /// Redis in its own protocol.
    Redis,
    /// Bare `PostgreSQL`: single-key statements on prepared connections.
    Postgres,
    /// The same statements, driven by `pgbench`.
    Pgbench,
    /// `PostgreSQL`'s advisory locks.
    PostgresAdvisory,
    /// Bare `MariaDB`: single-key statements on prepared connections.
    Mariadb,
    /// The crate `db_locks` with the engine in this process, on `SQLite`.
    EmbeddedSqlite,
    /// Likewise, on `PostgreSQL`.
    EmbeddedPostgres,
    /// The guards of that crate, which renew themselves, on `SQLite`.
    GuardsSqlite,
    /// Likewise, on `PostgreSQL`.
    GuardsPostgres,
}

impl Peer {
    /// All peers, in the order in which they are reported.
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// The name of the peer in tables and charts.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ServiceSqlite => "db-locks, SQLite",
            Self::ServicePostgres => "db-locks, PostgreSQL",
            Self::ServiceMariadb => "db-locks, MariaDB",
            Self::ServiceMysql => "db-locks, MySQL",
            Self::Health => "db-locks, /health",
            Self::EtcdGateway => "etcd, HTTP gateway",
            Self::EtcdGrpc => "etcd, gRPC",
            Self::Redis => "Redis",
            Self::Postgres => "bare PostgreSQL",
            Self::Pgbench => "bare PostgreSQL, pgbench",
            Self::PostgresAdvisory => "PostgreSQL advisory locks",
            Self::Mariadb => "bare MariaDB",
            Self::EmbeddedSqlite => "crate db_locks, SQLite",
            Self::EmbeddedPostgres => "crate db_locks, PostgreSQL",
            Self::GuardsSqlite => "guards of db_locks, SQLite",
            Self::GuardsPostgres => "guards of db_locks, PostgreSQL",
        }
    }

    /// Whether the peer keeps a row of a free lock.
    pub(crate) fn keeps_rows(self) -> bool {
        self.is_service() || self.is_embedded() || matches!(self, Self::Postgres | Self::Mariadb)
    }

    /// Whether the peer is the engine in this process.
    pub(crate) fn is_embedded(self) -> bool {
        matches!(
            self,
            Self::EmbeddedSqlite | Self::EmbeddedPostgres | Self::GuardsSqlite | Self::GuardsPostgres
        )
    }

    /// Whether the peer is the service with its locks.
    pub(crate) fn is_service(self) -> bool {
        matches!(
            self,
            Self::ServiceSqlite | Self::ServicePostgres | Self::ServiceMariadb | Self::ServiceMysql
        )
    }
}
