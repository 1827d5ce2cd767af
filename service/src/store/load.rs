//! Loads keys: first their rows, then their queues and permits, never the reverse.
//!
//! So the queue and the permits may be newer than the row. A write decided on such a view fails its condition, since every
//! change of a permit or a waiter rewrites the row; an answer that writes nothing is true of the later moment.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sea_orm::{ConnectionTrait, DbErr, Value};
use uuid::Uuid;

use super::{
    LoadRequest, Loaded, StoreError,
    children::keys_text,
    classify::{Purpose, classify},
    dialect::Dialect,
    error::LoadError,
    rows::{ReadStates, count, read_permit, read_states, read_waiter},
    sql_store::SqlStore,
    writer::AnyPool,
};
use crate::domain::{
    Body, BusyCount, EndedVersions, KeyId, KeyState, MOST_HOLDERS, Permit, Permits, Queue, Timestamp, Version,
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

    /// Loads on this connection of a server, be it inside a transaction or not.
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
        let rows = self.query(db, &self.load, &self.sql.load_rows, keys).await?;
        self.with_children(db, load_requests, read_states(&rows, load_requests.len())?).await
    }

    /// Adds queues and permits.
    async fn with_children(
        &self,
        db: &impl ConnectionTrait,
        load_requests: &[LoadRequest],
        (mut states, db_time): ReadStates,
    ) -> Result<Loaded, DbErr> {
        for (load_request, loaded) in load_requests.iter().zip(&mut states) {
            let Ok(state) = loaded else { continue };
            match self.load_children(db, load_request, state, db_time).await {
                Ok(()) => {}
                Err(LoadError::Database(error)) => return Err(error),
                Err(LoadError::Unreadable(unreadable)) => *loaded = Err(unreadable),
            }
        }
        Ok(Loaded { states, db_time })
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
            let is_counted = load_request.busy || semaphore.permits.slots > semaphore.max_size;
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
        let rows = self.query(db, &self.load, &self.sql.load_queue_prefix, values).await?;
        queue.head = rows.iter().map(read_waiter).collect::<Result<_, _>>()?;
        queue.asked.clone_from(&load_request.versions);
        if queue.head.len() < load_request.queue_prefix {
            // The whole queue is loaded. If it has changed since the row was read, the row's version has changed too; but the view
            // must be consistent in itself.
            queue.len = i64::try_from(queue.head.len()).unwrap_or(i64::MAX);
            return Ok(());
        }
        let mut behind = Vec::new();
        if !load_request.versions.is_empty() {
            let versions = padded(&load_request.versions);
            let sql = self.sql.load_named_waiters(versions.len());
            behind = self.query(db, &self.load, &sql, id_values(load_request, versions)).await?;
        }
        if let Some(replica) = load_request.waiters_of {
            let values =
                id_values(load_request, [Value::from(replica.0), limit(LoadRequest::REAPED_AT_ONCE)]);
            behind.extend(self.query(db, &self.load, &self.sql.load_waiters_of, values).await?);
        }
        let last = queue.head.back().map_or(i64::MIN, |waiter| waiter.seq);
        let mut named = BTreeMap::new();
        for row in &behind {
            let waiter = read_waiter(row)?;
            if waiter.seq > last {
                named.insert(waiter.seq, waiter);
            }
        }
        let positions = if load_request.positions && !named.is_empty() {
            self.load_positions(db, load_request).await?
        } else {
            FxHashMap::default()
        };
        let with_position = |(seq, waiter)| (waiter, positions.get(&seq).copied());
        queue.named = named.into_iter().map(with_position).collect();
        Ok(())
    }

    /// The number of waiters ahead of each waiter that is looked for by version, by `seq`.
    async fn load_positions(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
    ) -> Result<FxHashMap<i64, i64>, LoadError> {
        let versions = padded(&load_request.versions);
        let sql = self.sql.load_positions(versions.len());
        let rows = self.query(db, &self.load, &sql, id_values(load_request, versions)).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
    }

    /// Adds all permits of a guarded semaphore, and what their guard rows name.
    async fn load_guarded(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        permits: &mut Permits,
        db_time: Timestamp,
    ) -> Result<(), LoadError> {
        let slots = usize::try_from(permits.slots).unwrap_or_default();
        let all = LoadRequest { permits: load_request.permits.max(slots + 1), ..load_request.clone() };
        self.load_permits(db, &all, permits, Some(db_time)).await?;
        let rows = self.query(db, &self.load, &self.sql.guards.named, id_values(load_request, [])).await?;
        for row in &rows {
            let (slot, version): (i32, Uuid) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            permits.named.insert(slot, Version(version));
        }
        Ok(())
    }

    async fn load_permits(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        permits: &mut Permits,
        count_at: Option<Timestamp>,
    ) -> Result<(), LoadError> {
        if permits.slots == 0 {
            permits.asked.clone_from(&load_request.versions);
            permits.busy_counted = count_at.map(|at| BusyCount { busy: 0, at });
            return Ok(());
        }
        let values = id_values(load_request, [limit(load_request.permits)]);
        let rows = self.query(db, &self.load, &self.sql.load_permits, values).await?;
        permits.known = rows.iter().map(read_permit).collect::<Result<_, _>>()?;
        permits.asked.clone_from(&load_request.versions);
        if permits.known.len() >= load_request.permits {
            permits.unknown_from = permits.known.last().map(|permit| permit.grant.expires_at);
            if !load_request.versions.is_empty() {
                let versions = padded(&load_request.versions);
                let sql = self.sql.load_named_permits(versions.len());
                for row in &self.query(db, &self.load, &sql, id_values(load_request, versions)).await? {
                    let permit = read_permit(row)?;
                    if permits.known.iter().all(|known| known.slot != permit.slot) {
                        permits.known.push(permit);
                    }
                }
            }
        }
        if load_request.latest_chosen && permits.unknown_from.is_some() {
            // Rare, as below.
            Box::pin(self.load_latest_chosen(db, load_request, permits)).await?;
        }
        if let Some(db_time) = count_at {
            let values = id_values(load_request, [Value::from(db_time.0)]);
            let rows = self.query(db, &self.load, &self.sql.count_busy, values).await?;
            let busy = i32::try_from(count(&rows)?).unwrap_or(i32::MAX);
            permits.busy_counted = Some(BusyCount { busy, at: db_time });
            if permits.unknown_from.is_some() && permits.known.iter().all(|permit| has_ended(permit, db_time))
            {
                // Boxed, since it is rare and would make the future of every load larger.
                Box::pin(self.load_active(db, load_request, permits, db_time)).await?;
            }
        }
        Ok(())
    }

    /// Adds the permits with the latest grants whose versions callers chose.
    async fn load_latest_chosen(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        permits: &mut Permits,
    ) -> Result<(), LoadError> {
        let values = id_values(load_request, [limit(EndedVersions::AT_MOST)]);
        for row in &self.query(db, &self.load, &self.sql.load_latest_chosen, values).await? {
            permits.replace_known(read_permit(row)?);
        }
        permits.knows_latest_chosen = true;
        Ok(())
    }

    /// Adds the permits that end next to a view of ended permits only: a refusal names the holders.
    async fn load_active(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        permits: &mut Permits,
        db_time: Timestamp,
    ) -> Result<(), LoadError> {
        let values = id_values(load_request, [Value::from(db_time.0), limit(MOST_HOLDERS)]);
        for row in &self.query(db, &self.load, &self.sql.load_active_permits, values).await? {
            permits.replace_known(read_permit(row)?);
        }
        Ok(())
    }
}

/// Whether a permit had ended at database time.
fn has_ended(permit: &Permit, db_time: Timestamp) -> bool {
    !permit.grant.is_active_at(db_time)
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

/// Versions as values, the last one repeated up to a power of two, so that few different statements are prepared.
fn padded(versions: &[Version]) -> Vec<Value> {
    let size = versions.len().next_power_of_two();
    let last = versions.last().map_or_else(Uuid::nil, |version| version.0);
    let mut values: Vec<Value> = versions.iter().map(|version| Value::from(version.0)).collect();
    values.resize(size, Value::from(last));
    values
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{Grant, Key, KeyChange, Owner, RequestId, RowVersion, Semaphore, Tenant, Token},
        store::{DatabaseOptions, Write, connect, migrate_up},
    };

    fn permit(slot: i32, expires_at: Timestamp) -> Permit {
        let grant = Grant {
            version: Version(Uuid::from_u128(u128::try_from(slot).unwrap() + 1)),
            chosen: false,
            token: Token(i64::from(slot) + 1),
            owner: Owner::trusted("holder"),
            lease_ms: 60_000,
            acquired_at: Timestamp(0),
            expires_at,
            released: false,
            delete_on_release: false,
            request_id: RequestId(0),
        };
        Permit { slot, grant, data: None, updated_at: Timestamp(0) }
    }

    /// A semaphore that was shrunk to two permits, of 200 slots of which three stand.
    fn shrunk(id: KeyId, now: Timestamp) -> KeyChange {
        let mut change = KeyChange::new(id, KeyState::absent());
        let ends = |slot: i32| if slot < 197 { i64::from(slot) } else { now.0 + 60_000 };
        let known = (0..200).map(|slot| permit(slot, Timestamp(ends(slot)))).collect();
        let permits = Permits { known, slots: 200, ..Permits::default() };
        change.state.body =
            Body::Semaphore(Semaphore { max_size: 2, lease_ms: 60_000, guarded: false, permits });
        change.permits = (0..200).collect();
        change.dirty = true;
        change
    }

    #[tokio::test]
    async fn those_who_hold_are_loaded_however_many_permits_have_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("locks.sqlite");
        let options = DatabaseOptions::new(file.to_str().unwrap(), 2).unwrap();
        migrate_up(&options).await.unwrap();
        let store = connect(&options).await.unwrap();
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        let change = shrunk(id.clone(), store.now().await.unwrap());
        let write =
            Write { prev: None, row_version: RowVersion(Uuid::from_u128(1)), change: Box::new(change) };
        store.commit(Arc::new(vec![write])).await.unwrap();
        let loaded = store.load(&[LoadRequest::new(id)]).await.unwrap();
        let state = loaded.states[0].as_ref().unwrap();
        let Body::Semaphore(semaphore) = &state.body else { panic!("it is a semaphore") };
        let active = semaphore.permits.known.iter().filter(|permit| !has_ended(permit, loaded.db_time));
        assert_eq!(active.count(), 3);
        assert_eq!(semaphore.permits.busy_counted.map(|count| count.busy), Some(3));
    }
}
