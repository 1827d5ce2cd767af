//! Loads keys: first their rows, then their queues and permits, never the reverse.
//!
//! So the queue and the permits may be newer than the row. A write decided on such a view fails its condition, since
//! every change of a permit or a waiter rewrites the row. An answer that writes nothing holds for the later moment.

mod permits;
mod room;

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbErr, Value};
use uuid::Uuid;

use self::room::{LoadRoom, counts_permits};
use super::{
    LoadRequest, Loaded, NotLoaded, StoreError,
    children::keys_text,
    classify::{Purpose, classify},
    dialect::Dialect,
    error::LoadError,
    rows::{ReadStates, read_states, read_waiter},
    sql_store::SqlStore,
    writer::AnyPool,
};
use crate::{
    SeededMap,
    domain::{Body, Data, KeyId, KeyState, Queue, Timestamp, Version, WaiterData},
};

impl SqlStore {
    pub(super) async fn load_keys(&self, load_requests: &[LoadRequest]) -> Result<Loaded, StoreError> {
        if let Some(reader) = &self.sqlite_reader {
            self.load.round_trips.increment(1);
            let work = async {
                let ids = load_requests.iter().map(|request| request.id.clone()).collect();
                let states = reader.load(ids).await?;
                let loaded = self.with_children(self.hot_pool(), load_requests, states).await;
                loaded.map_err(|error| classify(error, Purpose::Read))
            };
            return self.load.run_classified(Purpose::Read, work).await;
        }
        if let Some(replication) = &self.pools.replication {
            replication.wait_until_certain().await?;
        }
        let work = async {
            let AnyPool::Postgres(pool) = self.hot_pool() else {
                return self.load_from(self.hot_pool(), load_requests).await;
            };
            let states = self.load_postgres(pool, load_requests).await?;
            self.with_children(self.hot_pool(), load_requests, states).await
        };
        self.load.run(Purpose::Read, work).await
    }

    /// Loads over a connection to a server, inside a transaction or not.
    pub(super) async fn load_from(
        &self,
        db: &impl ConnectionTrait,
        load_requests: &[LoadRequest],
    ) -> Result<Loaded, DbErr> {
        let ids = load_requests.iter().map(|request| &request.id);
        let keys = match self.sql.dialect {
            Dialect::Postgres => key_arrays(ids).to_vec(),
            _ => vec![keys_text(ids).into()],
        };
        let rows = self.query(db, &self.load, &self.sql.load.rows, keys).await?;
        self.with_children(db, load_requests, read_states(&rows, load_requests.len())?).await
    }

    /// Adds queues and permits, as far as the load has room for them.
    async fn with_children(
        &self,
        db: &impl ConnectionTrait,
        load_requests: &[LoadRequest],
        (states, db_time): ReadStates,
    ) -> Result<Loaded, DbErr> {
        let mut room = LoadRoom::default();
        let mut loaded = Vec::with_capacity(states.len());
        for (load_request, state) in load_requests.iter().zip(states) {
            let mut state = state.map_err(NotLoaded::from);
            if let Ok(found) = &mut state {
                let added = match room.admit(load_request, found) {
                    Ok(()) => self.load_children(db, load_request, found, db_time).await,
                    Err(not_loaded) => Err(LoadError::NotLoaded(not_loaded)),
                };
                match added {
                    Ok(()) => room.note(found.bytes()),
                    Err(LoadError::Database(error)) => return Err(error),
                    Err(LoadError::NotLoaded(not_loaded)) => state = Err(not_loaded),
                }
            }
            loaded.push(state);
        }
        Ok(Loaded { states: loaded, db_time })
    }

    /// Adds the queue and the permits of one key.
    async fn load_children(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        state: &mut KeyState,
        db_time: Timestamp,
    ) -> Result<(), LoadError> {
        if state.queue.len > 0 {
            self.load_queue(db, load_request, &mut state.queue).await?;
        } else {
            state.queue.asked.clone_from(&load_request.versions);
        }
        if let Body::Semaphore(semaphore) = &mut state.body {
            let is_counted = counts_permits(load_request, semaphore);
            if semaphore.guarded {
                // Boxed, since it is rare and would make the future of every load larger.
                Box::pin(self.load_guarded(db, load_request, &mut semaphore.permits, db_time)).await?;
            } else {
                self.load_permits(db, load_request, &mut semaphore.permits, is_counted.then_some(db_time))
                    .await?;
            }
        }
        Ok(())
    }

    async fn load_queue(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        queue: &mut Queue,
    ) -> Result<(), LoadError> {
        let values = id_values(load_request, [limit(load_request.queue_prefix)]);
        let rows = self.query(db, &self.load, &self.sql.load.queue_prefix, values).await?;
        queue.head = rows.iter().map(read_waiter).collect::<Result<_, _>>()?;
        queue.asked.clone_from(&load_request.versions);
        let is_whole = queue.head.len() < load_request.queue_prefix;
        if is_whole {
            // If the queue has changed since the row was read, the row's version has changed, too. The length still has
            // to match the loaded waiters, so that the view is consistent.
            queue.len = i64::try_from(queue.head.len()).unwrap_or(i64::MAX);
        }
        let mut others = Vec::new();
        if !load_request.versions.is_empty() && !is_whole {
            let versions = padded(&load_request.versions);
            let sql = self.sql.load.named_waiters(versions.len());
            others = self.query(db, &self.load, &sql, id_values(load_request, versions)).await?;
        }
        if let Some(replica) = load_request.waiters_of.filter(|_| !is_whole) {
            let values =
                id_values(load_request, [Value::from(replica.0), limit(LoadRequest::REAPED_AT_ONCE)]);
            others.extend(self.query(db, &self.load, &self.sql.load.waiters_of, values).await?);
        }
        let mut named = BTreeMap::new();
        for row in &others {
            let waiter = read_waiter(row)?;
            match queue.head.binary_search_by_key(&waiter.seq, |known| known.seq) {
                Err(index) if index == queue.head.len() => {
                    named.insert(waiter.seq, waiter);
                }
                // It is in the front, or came after the front was read.
                Ok(_) | Err(_) => {}
            }
        }
        let positions = if load_request.positions && !named.is_empty() {
            self.load_positions(db, load_request).await?
        } else {
            SeededMap::default()
        };
        let with_position = |(seq, waiter)| (waiter, positions.get(&seq).copied());
        queue.named = named.into_iter().map(with_position).collect();
        if !load_request.data_of.is_empty() {
            self.load_data(db, load_request, queue).await?;
        }
        Ok(())
    }

    /// Adds the data of the waiters that are about to be served.
    async fn load_data(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        queue: &mut Queue,
    ) -> Result<(), LoadError> {
        let versions = padded(&load_request.data_of);
        let sql = self.sql.load.waiter_data(versions.len());
        for row in self.query(db, &self.load, &sql, id_values(load_request, versions)).await? {
            let (seq, data): (i64, Option<String>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            if let Ok(index) = queue.head.binary_search_by_key(&seq, |waiter| waiter.seq) {
                queue.head[index].data = WaiterData::Read(data.as_deref().map(Data::trusted));
            }
        }
        Ok(())
    }

    /// The number of waiters ahead of each waiter that is looked for by version, by `seq`.
    async fn load_positions(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
    ) -> Result<SeededMap<i64, i64>, LoadError> {
        let versions = padded(&load_request.versions);
        let sql = self.sql.load.positions(versions.len());
        let rows = self.query(db, &self.load, &sql, id_values(load_request, versions)).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
    }
}

/// Keys as two parameters of PostgreSQL: an array of tenants and one of keys.
pub(super) fn key_arrays<'a>(ids: impl Iterator<Item = &'a KeyId>) -> [Value; 2] {
    let (tenants, keys): (Vec<_>, Vec<_>) =
        ids.map(|id| (id.tenant.as_str().to_owned(), id.key.as_str().to_owned())).unzip();
    [tenants.into(), keys.into()]
}

/// Tenant and key, followed by other values.
fn id_values(load_request: &LoadRequest, rest: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let id = [Value::from(load_request.id.tenant.as_str()), Value::from(load_request.id.key.as_str())];
    id.into_iter().chain(rest).collect()
}

fn limit(rows: usize) -> Value {
    Value::from(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// Versions as values. The last one is repeated up to a power of two, so that few different statements are prepared.
fn padded(versions: &[Version]) -> Vec<Value> {
    let size = versions.len().next_power_of_two();
    let last = versions.last().map_or_else(Uuid::nil, |version| version.0);
    let mut values: Vec<Value> = versions.iter().map(|version| Value::from(version.0)).collect();
    values.resize(size, Value::from(last));
    values
}
