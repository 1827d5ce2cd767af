//! One connection to any peer: acquire, release, heartbeat.
//!
//! The same loops drive every peer through [`Client`]. Only the bytes on the socket differ.

mod advisory;
mod dial;
mod embedded;
mod etcd_gateway;
mod etcd_grpc;
mod failure;
mod guards;
mod http;
mod http_answer;
mod mariadb;
mod postgres;
mod redis;
mod service;
mod user;

use self::{
    advisory::Advisory,
    embedded::Embedded,
    etcd_gateway::EtcdGateway,
    etcd_grpc::EtcdGrpc,
    guards::Guards,
    mariadb::Mariadb,
    postgres::Postgres,
    redis::Redis,
    service::{Health, Service},
};
pub(crate) use self::{
    dial::{Ask, Dialer},
    failure::{Failure, Failures},
    http::Http,
    mariadb::{SCHEMA as MARIADB_SCHEMA, connect as connect_mysql},
    postgres::{
        ACQUIRE as POSTGRES_ACQUIRE, RELEASE as POSTGRES_RELEASE, SCHEMA as POSTGRES_SCHEMA, Session,
    },
    user::User,
};

/// The result of an acquire, which release and heartbeat have to send.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    /// The version, token or key that names the grant, as the peer spells it.
    pub(crate) name: String,
    /// etcd's lease if the lock has one of its own; otherwise empty.
    pub(crate) lease: String,
    /// The fencing token, or 0 if the peer has none.
    pub(crate) fencing_token: u64,
}

/// A connection to one of the peers.
pub(crate) enum Client {
    /// The service.
    Service(Service),
    /// The service's `/health`, asked once for the acquire and once for the release.
    Health(Health),
    /// etcd over HTTP.
    EtcdGateway(EtcdGateway),
    /// etcd over gRPC.
    EtcdGrpc(EtcdGrpc),
    /// Redis.
    Redis(Redis),
    /// Statements on `PostgreSQL`.
    Postgres(Box<Postgres>),
    /// Advisory locks of `PostgreSQL`.
    Advisory(Box<Advisory>),
    /// Statements on `MariaDB`.
    Mariadb(Box<Mariadb>),
    /// The engine in this process.
    Embedded(Box<Embedded>),
    /// The engine in this process, with guards.
    Guards(Box<Guards>),
}

impl Client {
    /// Acquires the lock of this key. If another client holds it, it waits or fails as the [`Ask`] says.
    pub(crate) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        match self {
            Self::Service(client) => client.acquire(key).await,
            Self::Health(client) => client.ask().await.map(|()| Grant::default()),
            Self::EtcdGateway(client) => client.acquire(key).await,
            Self::EtcdGrpc(client) => client.acquire(key).await,
            Self::Redis(client) => client.acquire(key).await,
            Self::Postgres(client) => client.acquire(key).await,
            Self::Advisory(client) => client.acquire(key).await,
            Self::Mariadb(client) => client.acquire(key).await,
            Self::Embedded(client) => client.acquire(key).await,
            Self::Guards(client) => client.acquire(key).await,
        }
    }

    /// Releases the lock; an error unless exactly this grant was released.
    pub(crate) async fn release(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        match self {
            Self::Service(client) => client.release(key, grant).await,
            Self::Health(client) => client.ask().await,
            Self::EtcdGateway(client) => client.release(grant).await,
            Self::EtcdGrpc(client) => client.release(grant).await,
            Self::Redis(client) => client.release(key, grant).await,
            Self::Postgres(client) => client.release(key, grant).await,
            Self::Advisory(client) => client.release(key).await,
            Self::Mariadb(client) => client.release(key, grant).await,
            Self::Embedded(client) => client.release(key, grant).await,
            Self::Guards(client) => client.release().await,
        }
    }

    /// Extends the lease of a grant; an error unless exactly this grant is active.
    pub(crate) async fn heartbeat(&mut self, key: &str, grant: &Grant) -> Result<(), Failure> {
        match self {
            Self::Service(client) => client.heartbeat(key, grant).await,
            Self::EtcdGateway(client) => client.heartbeat(grant).await,
            Self::Redis(client) => client.heartbeat(key, grant).await,
            Self::Postgres(client) => client.heartbeat(key, grant).await,
            Self::Mariadb(client) => client.heartbeat(key, grant).await,
            Self::Health(_) | Self::EtcdGrpc(_) | Self::Advisory(_) | Self::Embedded(_) | Self::Guards(_) => {
                Err(Failure::Unsupported("heartbeat"))
            }
        }
    }
}
