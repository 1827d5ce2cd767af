//! Loads the permits of a semaphore: those that end first, those that are asked for, and for some requests more.

use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{id_values, limit, padded};
use crate::{
    domain::{BusyCount, EndedVersions, MOST_HOLDERS, Permit, Permits, Timestamp, Version},
    store::{
        LoadRequest,
        error::LoadError,
        rows::{count, read_permit},
        sql_store::SqlStore,
    },
};

impl SqlStore {
    /// Adds all permits of a guarded semaphore, and the grants that its guard rows name.
    pub(super) async fn load_guarded(
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

    pub(super) async fn load_permits(
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
        let rows = self.query(db, &self.load, &self.sql.load.permits, values).await?;
        permits.known = rows.iter().map(read_permit).collect::<Result<_, _>>()?;
        permits.asked.clone_from(&load_request.versions);
        if permits.known.len() >= load_request.permits {
            permits.unknown_from = permits.known.last().map(|permit| permit.grant.expires_at);
            if !load_request.versions.is_empty() {
                let versions = padded(&load_request.versions);
                let sql = self.sql.load.named_permits(versions.len());
                for row in &self.query(db, &self.load, &sql, id_values(load_request, versions)).await? {
                    let permit = read_permit(row)?;
                    if permits.known.iter().all(|known| known.slot != permit.slot) {
                        permits.known.push(permit);
                    }
                }
            }
        } else if permits.known.is_empty() {
            // The semaphore was deleted since its row was read, so the row's version has changed, too. The slots still have
            // to match the loaded permits, so that the view is consistent.
            permits.slots = 0;
        }
        if load_request.latest_chosen && permits.unknown_from.is_some() {
            // Boxed, since it is rare, as below.
            Box::pin(self.load_latest_chosen(db, load_request, permits)).await?;
        }
        if let Some(db_time) = count_at {
            let id = [load_request.id.tenant.as_str(), load_request.id.key.as_str()];
            let mut busy = 0;
            for (sql, values) in self.busy_counts(id, permits.slots, db_time) {
                busy += count(&self.query(db, &self.load, sql, values).await?)?;
            }
            let busy = i32::try_from(busy).unwrap_or(i32::MAX);
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
        for row in &self.query(db, &self.load, &self.sql.load.latest_chosen, values).await? {
            permits.replace_known(read_permit(row)?);
        }
        permits.knows_latest_chosen = true;
        Ok(())
    }

    /// Adds the active permits that end next, if all loaded permits have ended: a refusal names the holders.
    async fn load_active(
        &self,
        db: &impl ConnectionTrait,
        load_request: &LoadRequest,
        permits: &mut Permits,
        db_time: Timestamp,
    ) -> Result<(), LoadError> {
        let values = id_values(load_request, [Value::from(db_time.0), limit(MOST_HOLDERS)]);
        for row in &self.query(db, &self.load, &self.sql.load.active_permits, values).await? {
            permits.replace_known(read_permit(row)?);
        }
        Ok(())
    }
}

/// Whether a permit had ended at database time.
fn has_ended(permit: &Permit, db_time: Timestamp) -> bool {
    !permit.grant.is_active_at(db_time)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{
            Body, Grant, Key, KeyChange, KeyId, KeyState, Owner, RequestId, RowVersion, Semaphore, Tenant,
            Token,
        },
        store::{DatabaseOptions, LoadKind, Write, connect, migrate_up},
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

    /// A semaphore that was shrunk to two permits. One in `one_in` of its slots has an active grant.
    fn shrunk(id: KeyId, (slots, one_in): (i32, i32), now: Timestamp) -> KeyChange {
        let mut change = KeyChange::new(id, KeyState::absent());
        let ends = |slot: i32| if slot % one_in > 0 { i64::from(slot) } else { now.0 + 60_000 };
        let known = (0..slots).map(|slot| permit(slot, Timestamp(ends(slot)))).collect();
        let permits = Permits { known, slots, ..Permits::default() };
        change.state.body =
            Body::Semaphore(Semaphore { max_size: 2, lease_ms: 60_000, guarded: false, permits });
        change.permits = (0..slots).collect();
        change.dirty = true;
        change
    }

    #[tokio::test]
    async fn active_permits_are_loaded_and_counted_however_many_have_ended() {
        for (slots, one_in) in [(200, 80), (40_000, 15_000)] {
            let (loaded, counted) = load_shrunk(slots, one_in).await;
            assert_eq!((loaded, counted), (3, Some(3)), "{slots}");
        }
    }

    /// The number of active permits that are loaded of a semaphore, and that are counted.
    async fn load_shrunk(slots: i32, one_in: i32) -> (usize, Option<i32>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("locks.sqlite");
        let options = DatabaseOptions::new(file.to_str().unwrap(), 2).unwrap();
        migrate_up(&options).await.unwrap();
        let store = connect(&options).await.unwrap();
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        let change = shrunk(id.clone(), (slots, one_in), store.now().await.unwrap());
        let write =
            Write { prev: None, row_version: RowVersion(Uuid::from_u128(1)), change: Box::new(change) };
        store.commit(Arc::new(vec![write])).await.unwrap();
        let load_request = LoadRequest { kind: LoadKind::VeryLong, ..LoadRequest::new(id) };
        let loaded = store.load(&[load_request]).await.unwrap();
        let state = loaded.states[0].as_ref().unwrap();
        let Body::Semaphore(semaphore) = &state.body else { panic!("it is a semaphore") };
        let active = semaphore.permits.known.iter().filter(|permit| !has_ended(permit, loaded.db_time));
        (active.count(), semaphore.permits.busy_counted.map(|count| count.busy))
    }
}
