//! The plan of a run: the measurements on each server, in their order.

use serde::Serialize;

use crate::settings::{Peer, Settings, Work};

/// The numbers of connections of pairs on guarded keys.
const GUARD_CONNECTIONS: [usize; 2] = [1, 32];

/// A database under the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Database {
    /// A file in the service's own process.
    Sqlite,
    /// A `PostgreSQL` server beside it.
    Postgres,
    /// A `MariaDB` server beside it.
    Mariadb,
    /// A `MySQL` server beside it.
    Mysql,
}

/// Servers that run together, and alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Stand {
    /// The servers.
    pub(crate) server: Server,
    /// Whether their table is filled before anything is measured, and kept between the rounds.
    pub(crate) filled: bool,
}

/// The servers of a stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Server {
    /// One etcd.
    Etcd,
    /// One Redis.
    Redis,
    /// A bare `PostgreSQL`.
    Postgres,
    /// A bare `MariaDB`.
    Mariadb,
    /// The service on a database.
    Service {
        /// The database.
        database: Database,
        /// The number of processes of the service.
        replicas: usize,
    },
    /// The engine in this program's process, on a database.
    Embedded {
        /// The database.
        database: Database,
    },
}

/// The keys of pairs. Each connection always has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keys {
    /// Each connection uses a hundred keys again and again.
    Reused,
    /// Never the same key twice.
    New,
    /// Keys of the filled table, none of them twice.
    Known,
    /// As reused, and guarded.
    Guarded,
}

/// The way in which a user's transaction proves that nobody else writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proof {
    /// `db_locks_guard`.
    Guard,
    /// `SELECT … FOR UPDATE` on a private row.
    RowLock,
    /// `PostgreSQL`'s `pg_advisory_xact_lock`.
    AdvisoryLock,
}

/// The choice of the replica for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Route {
    /// Each client stays on one.
    Sticky,
    /// Each request goes to one at random.
    Random,
}

/// The work of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "load", rename_all = "kebab-case")]
pub(crate) enum Load {
    /// Acquire and release on distinct keys.
    Pairs {
        /// The number of connections.
        connections: usize,
        /// The keys.
        keys: Keys,
        /// The choice of the replica.
        route: Route,
    },
    /// Heartbeats on held locks.
    Heartbeats {
        /// The number of held locks.
        locks: usize,
        /// The number of connections.
        connections: usize,
    },
    /// One key that is passed on and on.
    Hot {
        /// The number of waiters behind the holder.
        waiters: usize,
    },
    /// One semaphore.
    Semaphore {
        /// The number of permits.
        permits: usize,
        /// The number of clients.
        clients: usize,
    },
    /// Requests that wait for held keys.
    Idle {
        /// The number of requests.
        waiters: usize,
        /// The number of keys.
        keys: usize,
    },
    /// Transactions one after another that contain only the proof.
    Transactions {
        /// The proof.
        proof: Proof,
    },
    /// Waiters queued one after another.
    Order {
        /// The number of waiters.
        waiters: usize,
        /// The number of rounds.
        rounds: usize,
    },
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    /// The kind of work.
    pub(crate) work: Work,
    /// The peer.
    pub(crate) peer: Peer,
    /// The work.
    #[serde(flatten)]
    pub(crate) load: Load,
    /// Whether the servers start again before the measurement, with empty tables.
    #[serde(skip)]
    pub(crate) clean: bool,
    /// Whether one round is enough.
    #[serde(skip)]
    pub(crate) once: bool,
}

/// All stands of the settings with their measurements. A stand without a measurement is left out.
pub(crate) fn plan(settings: &Settings) -> Vec<(Stand, Vec<Cell>)> {
    stands()
        .into_iter()
        .map(|stand| (stand, cells(stand, settings)))
        .filter(|(_, cells)| !cells.is_empty())
        .collect()
}

/// Every stand there is.
fn stands() -> Vec<Stand> {
    use Database::{Mariadb, Mysql, Postgres, Sqlite};
    let service = |database, replicas| Server::Service { database, replicas };
    let plain = [
        Server::Etcd,
        Server::Redis,
        Server::Postgres,
        Server::Mariadb,
        service(Sqlite, 1),
        service(Postgres, 1),
        service(Mariadb, 1),
        service(Mysql, 1),
        service(Postgres, 2),
        service(Postgres, 3),
        service(Mariadb, 3),
        service(Mysql, 3),
        Server::Embedded { database: Sqlite },
        Server::Embedded { database: Postgres },
    ];
    let filled =
        [Server::Postgres, Server::Mariadb, service(Sqlite, 1), service(Postgres, 1), service(Mariadb, 1)];
    let plain = plain.map(|server| Stand { server, filled: false });
    let filled = filled.map(|server| Stand { server, filled: true });
    plain.into_iter().chain(filled).collect()
}

/// The measurements of a stand.
fn cells(stand: Stand, settings: &Settings) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &work in &settings.work {
        for peer in peers(stand).into_iter().filter(|peer| settings.peers.contains(peer)) {
            let loads = loads(stand, work, peer, settings);
            cells.extend(loads.into_iter().map(|load| Cell {
                work,
                peer,
                load,
                clean: !stand.filled && matches!(work, Work::Rows | Work::Idle),
                once: matches!(work, Work::Idle | Work::Order),
            }));
        }
    }
    cells
}

/// The peers of a stand.
fn peers(stand: Stand) -> Vec<Peer> {
    match stand.server {
        Server::Etcd => vec![Peer::EtcdGateway, Peer::EtcdGrpc],
        Server::Redis => vec![Peer::Redis],
        Server::Postgres => vec![Peer::Postgres, Peer::Pgbench, Peer::PostgresAdvisory],
        Server::Mariadb => vec![Peer::Mariadb],
        Server::Service { database: Database::Sqlite, .. } => vec![Peer::ServiceSqlite, Peer::Health],
        Server::Service { database: Database::Postgres, .. } => vec![Peer::ServicePostgres],
        Server::Service { database: Database::Mariadb, .. } => vec![Peer::ServiceMariadb],
        Server::Service { database: Database::Mysql, .. } => vec![Peer::ServiceMysql],
        Server::Embedded { database: Database::Sqlite } => vec![Peer::EmbeddedSqlite, Peer::GuardsSqlite],
        Server::Embedded { database: Database::Postgres } => {
            vec![Peer::EmbeddedPostgres, Peer::GuardsPostgres]
        }
        Server::Embedded { .. } => Vec::new(),
    }
}

/// The measurements of a kind of work for a peer on a stand; none if it does not apply.
fn loads(stand: Stand, work: Work, peer: Peer, settings: &Settings) -> Vec<Load> {
    let replicas = if let Server::Service { replicas, .. } = stand.server { replicas } else { 1 };
    let is_embedded = matches!(stand.server, Server::Embedded { .. });
    let alone = replicas == 1 && !stand.filled && !is_embedded;
    let pairs = |keys| {
        let load = move |&connections| Load::Pairs { connections, keys, route: Route::Sticky };
        settings.connections.iter().map(load).collect::<Vec<_>>()
    };
    let has_table = peer.is_service() || matches!(peer, Peer::Postgres | Peer::Mariadb);
    match work {
        Work::Pairs if alone => pairs(Keys::Reused),
        Work::Rows if stand.filled && has_table => [pairs(Keys::New), pairs(Keys::Known)].concat(),
        Work::Rows if alone && has_table => pairs(Keys::New),
        Work::Heartbeats if alone && (has_table || matches!(peer, Peer::Redis | Peer::EtcdGateway)) => {
            vec![Load::Heartbeats {
                locks: settings.heartbeat_locks,
                connections: settings.fixed_connections,
            }]
        }
        Work::Hot if replicas != 2 && !stand.filled && can_wait(peer) => {
            settings.waiters.iter().map(|&waiters| Load::Hot { waiters }).collect()
        }
        Work::Semaphore if alone && peer.is_service() => {
            vec![Load::Semaphore { permits: settings.permits, clients: settings.permit_clients }]
        }
        Work::Replicas if peer == Peer::ServicePostgres && !stand.filled => {
            let connections = settings.fixed_connections;
            let routes = if replicas == 1 { &[Route::Sticky][..] } else { &[Route::Sticky, Route::Random] };
            routes.iter().map(|&route| Load::Pairs { connections, keys: Keys::Reused, route }).collect()
        }
        Work::Idle if alone && peer.is_service() => {
            vec![Load::Idle { waiters: settings.idle_waiters, keys: settings.idle_keys }]
        }
        Work::Guard if alone && peer.is_service() => guards(peer),
        Work::Embedded
            if is_embedded || alone && matches!(peer, Peer::ServiceSqlite | Peer::ServicePostgres) =>
        {
            let connections = settings.fixed_connections;
            vec![Load::Pairs { connections, keys: Keys::Reused, route: Route::Sticky }]
        }
        Work::Order if replicas == 3 => {
            vec![Load::Order { waiters: settings.order_waiters, rounds: settings.order_rounds }]
        }
        _ => Vec::new(),
    }
}

/// Pairs on guarded and other keys, and the proof in a transaction with and without the service.
fn guards(peer: Peer) -> Vec<Load> {
    let pairs = |connections, keys| Load::Pairs { connections, keys, route: Route::Sticky };
    let counts = GUARD_CONNECTIONS.into_iter();
    let mut loads: Vec<_> =
        counts.flat_map(|count| [pairs(count, Keys::Reused), pairs(count, Keys::Guarded)]).collect();
    let proofs = match peer {
        Peer::ServiceSqlite => &[Proof::Guard][..],
        Peer::ServicePostgres => &[Proof::Guard, Proof::RowLock, Proof::AdvisoryLock],
        _ => &[Proof::Guard, Proof::RowLock],
    };
    loads.extend(proofs.iter().map(|&proof| Load::Transactions { proof }));
    loads
}

/// Whether a peer's acquire can wait in the server until the lock is free.
fn can_wait(peer: Peer) -> bool {
    peer.is_service() || matches!(peer, Peer::EtcdGateway | Peer::EtcdGrpc | Peer::PostgresAdvisory)
}
