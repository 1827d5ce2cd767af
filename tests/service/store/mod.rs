//! The traits of the store against real databases: the properties on which the engine relies, tested on each.
#![expect(clippy::disallowed_methods, reason = "tests mint versions and stamps of their own")]

mod epoch;
mod long_statements;
mod odd_settings;
mod plans;
mod races;
mod ready;
mod rows;
mod sweep_plans;
mod sweeping;
mod tokens;

use std::sync::Arc;

use db_locks_service::{
    domain::{
        Acquire, Command, Context, Epoch, Key, KeyChange, KeyId, KeyState, Kind, Now, Owner, RequestId,
        RowVersion, Tenant, Timestamp, Version,
    },
    store::{self, DatabaseOptions, LoadRequest, Store, Write},
};
use uuid::Uuid;

use crate::support::Database;

/// A store on an empty database with its schema.
async fn store_on(database: &Database) -> Arc<dyn Store> {
    let options = DatabaseOptions::new(&database.url, 4).unwrap();
    store::migrate_up(&options).await.unwrap();
    store::connect(&options).await.unwrap()
}

/// Another replica's store on the same database.
async fn another_on(database: &Database) -> Arc<dyn Store> {
    store::connect(&DatabaseOptions::new(&database.url, 4).unwrap()).await.unwrap()
}

fn id(key: &str) -> KeyId {
    KeyId { tenant: Tenant::new("t").unwrap(), key: Key::new(key).unwrap() }
}

fn acquire(owner: &str) -> Acquire {
    Acquire {
        kind: Kind::Mutex,
        owner: Owner::new(owner).unwrap(),
        lease_ms: Some(60_000),
        wait_ms: Some(0),
        additional_wait_ms: 0,
        max_wait_ms: 60_000,
        data: None,
        replace_data: false,
        delete_on_release: false,
        only_if_exists: false,
        version: Version(Uuid::new_v4()),
        chosen: true,
        retried: false,
        request_id: RequestId(7),
    }
}

/// Decides commands on a state, and returns the write.
fn write(id: &KeyId, state: KeyState, now: Timestamp, commands: &[Command]) -> Write {
    let prev = state.row_version;
    let mut change = Box::new(KeyChange::new(id.clone(), state));
    let now = Now { at_least: now, at_most: now };
    let me = Some(db_locks_service::domain::ReplicaId(Uuid::from_u128(1)));
    let context = Context {
        now,
        me,
        is_leaving: false,
        dead: Arc::default(),
        suspects: Arc::default(),
        max_waiters_per_key: 100,
        lists_changes: false,
        epoch: Epoch::default(),
        over_storage: Arc::default(),
    };
    for command in commands {
        change.decide(command, &context).unwrap();
    }
    Write { prev, row_version: RowVersion(Uuid::new_v4()), change }
}

async fn load(store: &dyn Store, id: &KeyId) -> (KeyState, Timestamp) {
    let loaded = store.load(&[LoadRequest::new(id.clone())]).await.unwrap();
    (loaded.states.into_iter().next().unwrap().unwrap(), loaded.db_time)
}
