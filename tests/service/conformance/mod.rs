//! The cases that pass on every database: the HTTP contract, sentence by sentence.
//!
//! Each case is written once and becomes a test for each database. Most cases share a service for each database, with a
//! tenant of their own. Cases that need other settings start their own service.

/// Makes a test of each case and database: `conformance::locks::sqlite::a_case`.
///
/// `with_client` hands a case a client of the shared service, on a Galera cluster of two replicas that take turns, and
/// `with_database` an empty database of its own.
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
mod supersede;
mod sweeping;
mod tenants;
mod terraform;
mod uses_semaphore;
mod versions;
mod waiting;
mod waiting_callers;
mod waiting_permits;
mod wrong_kind;

use crate::support::{Client, Database, Dialect, service};

/// Runs a case at the shared service.
pub(crate) async fn with_client<F: Future<Output = ()>>(dialect: Dialect, case: impl FnOnce(Client) -> F) {
    if let Some(client) = service::shared(dialect).await {
        case(client).await;
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
