//! Keeps the states of keys in a database: five traits, and one implementation of them over three dialects.
//!
//! [`KeyStore`] is the hot path: load keys, decide elsewhere, commit. [`ReplicaStore`] holds the membership of replicas
//! and their waiters, [`SweepStore`] removes what nobody needs any more, [`ListStore`] answers lists and counts,
//! [`TokenStore`] keeps bearer tokens. The store knows no rule of locking. It is the only module that names `sea_orm`,
//! `sqlx` and `rusqlite`.
//!
//! `sql_store` sends statements and counts them; `keys`, `replicas`, `sweep`, `lists` and `tokens` implement the traits. What differs
//! between databases is in `sqlite/`, `postgres/` and `mysql/` (MariaDB and MySQL): `sql`, `bind`, `load`, `commit`, `session`.

mod after;
mod blocked;
mod busy;
mod checks;
mod children;
mod classify;
mod columns;
mod commit;
mod connect;
mod dialect;
mod disk;
mod ended;
mod epoch;
mod error;
mod expired;
mod fence;
mod gate;
mod guards;
mod health;
mod keys;
mod lists;
mod load;
mod mysql;
mod not_sent;
mod operation;
mod page;
mod pool;
mod pools;
mod postgres;
mod replicas;
mod routines;
mod rows;
mod schema;
mod server_status;
mod servers;
mod session;
mod sql;
mod sql_store;
mod sqlite;
mod sweep;
mod tokens;
mod traits;
mod types;
mod url;
#[cfg(test)]
mod without_lists;
mod writer;

pub use classify::ConnectionRefusal;
pub use epoch::{RaisedByHand, raise_epoch};
pub use error::{StoreError, Unreadable};
pub use expired::GrantPosition;
pub use postgres::PLANNER_SETTINGS;
pub use schema::{MigrationStatus, check_schema, migrate_down, migrate_redo, migrate_status, migrate_up};
pub use sql::{hot_statements, sweep_statements};
pub use sql_store::connect;
pub use sweep::{SweepPlace, TombstonePage};
pub use traits::{
    BatchLimits, Database, DecideLocked, KeyStore, ListStore, Notifications, ReplicaStore, Store, SweepStore,
    TokenStore,
};
pub use types::{
    Committed, FoundToken, HeartbeatResult, HeldCounts, KeyFilter, LoadKind, LoadRequest, Loaded, LockFilter,
    NotLoaded, Page, Peer, PoolUse, TokenTimes, WaitingRow, Write,
};
pub use url::{DatabaseOptions, DatabasePlace, UrlError};
#[cfg(test)]
pub(crate) use without_lists::WithoutLists;
