//! How to reach a peer.

use super::{
    Client, Failure,
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
use crate::{plan::Route, settings::Peer, site::Target};

/// The properties of every request of a measurement, beside its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// The lease, in milliseconds.
    pub(crate) lease_ms: u64,
    /// The waiting time of an acquire, in milliseconds; 0 tries once.
    pub(crate) wait_ms: u64,
    /// The choice of the replica for a request.
    pub(crate) route: Route,
    /// Whether the key is a semaphore's.
    pub(crate) semaphore: bool,
    /// Whether the key is guarded.
    pub(crate) guarded: bool,
    /// Whether each lock of etcd has a lease of its own. Otherwise each client has one, as its locks do by default.
    pub(crate) lease_each: bool,
}

impl Ask {
    /// Tries once, for a lease that outlives the measurement.
    pub(crate) fn once() -> Self {
        Self {
            lease_ms: 600_000,
            wait_ms: 0,
            route: Route::Sticky,
            semaphore: false,
            guarded: false,
            lease_each: false,
        }
    }

    /// Waits for as long as any measurement takes.
    pub(crate) fn patient() -> Self {
        Self { wait_ms: 300_000, ..Self::once() }
    }
}

/// Makes identical connections to a peer.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    /// The peer.
    pub(crate) peer: Peer,
    /// The addresses.
    pub(crate) target: Target,
    /// The properties of the requests.
    pub(crate) ask: Ask,
}

impl Dialer {
    /// Connects the client with this number, which selects the replica on which the client stays.
    pub(crate) async fn dial(&self, index: usize) -> Result<Client, Failure> {
        let Self { peer, target, ask } = self;
        Ok(match peer {
            Peer::ServiceSqlite | Peer::ServicePostgres | Peer::ServiceMariadb | Peer::ServiceMysql => {
                Client::Service(Service::connect(&target.front, index, *ask).await?)
            }
            Peer::Health => Client::Health(Health::connect(target.first()).await?),
            Peer::EtcdGateway => Client::EtcdGateway(EtcdGateway::connect(target.first(), *ask).await?),
            Peer::EtcdGrpc => Client::EtcdGrpc(EtcdGrpc::connect(target.first(), *ask).await?),
            Peer::Redis => Client::Redis(Redis::connect(target.first(), *ask).await?),
            Peer::Postgres => Client::Postgres(Box::new(Postgres::connect(target.first(), *ask).await?)),
            Peer::PostgresAdvisory => {
                Client::Advisory(Box::new(Advisory::connect(target.first(), *ask).await?))
            }
            Peer::Mariadb => Client::Mariadb(Box::new(Mariadb::connect(target.first(), *ask).await?)),
            Peer::EmbeddedSqlite | Peer::EmbeddedPostgres => {
                Client::Embedded(Box::new(Embedded::new(target.engine()?, *ask)))
            }
            Peer::GuardsSqlite | Peer::GuardsPostgres => {
                Client::Guards(Box::new(Guards::new(target.engine()?, *ask)))
            }
            Peer::Pgbench => return Err(Failure::Unsupported("a connection of pgbench")),
        })
    }
}
