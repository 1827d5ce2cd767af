//! The cases that pass on every database: the HTTP contract, sentence by sentence.
//!
//! Each case is written once and becomes a test for each database. Most cases share a service for each database, with a
//! tenant of their own. Cases that need other settings start their own service.

/// Makes a test of each case and database: `conformance::locks::sqlite::a_case`.
///
/// `with_client` hands a case a client of the shared service, and `with_database` an empty database of its own. On a Galera
/// cluster, and behind `PgBouncer` in transaction mode, two replicas take turns instead.
macro_rules! on_every_database {
    (with_client: $($case:ident),+ $(,)?) => {
        on_every_database!(@ sqlite, Sqlite, with_client: $($case),+);
        on_every_database!(@ postgres, Postgres, with_client: $($case),+);
        on_every_database!(@ mariadb, MariaDb, with_client: $($case),+);
        on_every_database!(@ mysql, MySql, with_client: $($case),+);
        mod galera {
            $(
                #[tokio::test]
                async fn $case() {
                    crate::galera::with_client(super::$case).await;
                }
            )+
        }
        mod pgbouncer {
            $(
                #[tokio::test]
                async fn $case() {
                    crate::conformance::behind_pgbouncer(super::$case).await;
                }
            )+
        }
    };
    ($with:ident: $($case:ident),+ $(,)?) => {
        on_every_database!(@ sqlite, Sqlite, $with: $($case),+);
        on_every_database!(@ postgres, Postgres, $with: $($case),+);
        on_every_database!(@ mariadb, MariaDb, $with: $($case),+);
        on_every_database!(@ mysql, MySql, $with: $($case),+);
    };
    (@ $module:ident, $dialect:ident, $with:ident: $($case:ident),+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $case() {
                    crate::conformance::$with($crate::support::Dialect::$dialect, super::$case).await;
                }
            )+
        }
    };
}
pub(crate) use on_every_database;

mod acquire_fields;
mod audit;
mod browsers;
mod conditions;
mod data;
mod errors;
mod expiry;
mod fencing;
pub(crate) mod force;
mod heartbeat;
mod hostile;
mod http;
mod keys;
mod limits;
mod lists;
mod locks;
mod malformed;
mod ops;
mod permits;
mod put_and_delete;
mod reentrant;
mod release;
mod resize;
mod semaphores;
mod smuggling;
mod supersede;
mod sweeping;
mod tenants;
mod terraform;
mod uses_semaphore;
mod versions;
pub(crate) mod waiting;
mod waiting_callers;
mod waiting_permits;
mod wrong_kind;

use tokio::sync::OnceCell;

use crate::support::{
    Client, Database, Dialect, Service,
    balancer::lead_in_turns,
    pgbouncer::{PgBouncer, TRANSACTIONS},
    service,
};

/// Runs a case at the shared service.
pub(crate) async fn with_client<F: Future<Output = ()>>(dialect: Dialect, case: impl FnOnce(Client) -> F) {
    if let Some(client) = service::shared(dialect).await {
        case(client).await;
    }
}

/// Runs a case whose connections alternate between two replicas behind a pooler in transaction mode.
async fn behind_pgbouncer<F: Future<Output = ()>>(case: impl FnOnce(Client) -> F) {
    struct Shared {
        _pooler: PgBouncer,
        _replicas: [Service; 2],
        port: u16,
    }
    static SHARED: OnceCell<Option<Shared>> = OnceCell::const_new();
    let start = async || {
        let database = Dialect::Postgres.database().await?;
        let pooler = PgBouncer::start(&database, TRANSACTIONS).await?;
        // The schema, which a pooler in this mode does not let through.
        drop(Service::start(&database.url).await);
        let replicas =
            [Service::start_for_good(&pooler.url).await, Service::start_for_good(&pooler.url).await];
        let port = lead_in_turns([replicas[0].port(), replicas[1].port()]);
        Some(Shared { _pooler: pooler, _replicas: replicas, port })
    };
    if let Some(shared) = SHARED.get_or_init(start).await {
        case(Client::connecting_anew(shared.port)).await;
    }
}

/// Runs a case on a database of its own.
pub(crate) async fn with_database<F: Future<Output = ()>>(
    dialect: Dialect,
    case: impl FnOnce(Database) -> F,
) {
    if let Some(database) = dialect.database().await {
        case(database).await;
    }
}
