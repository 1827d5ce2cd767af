//! What the sweeper asks of the database.
//!
//! A tombstone keeps its key's token. Before it may go, the floor of its tenant is raised to its token at least, and the
//! raised floor has settled: every creation that could have read the old floor has ended. A floor that is raised by the
//! deletion itself grants tokens twice.
//!
//! Every step here may be repeated, so one whose answer is lost is sorted as a read is: nobody has to find out whether it
//! was carried out.

use sea_orm::{ConnectionTrait, DbErr, Value};
use uuid::Uuid;

use super::{
    HeldCounts, Page, StoreError, classify::Purpose, dialect::Dialect, replicas::read_id, sql_store::SqlStore,
};
use crate::domain::{KeyId, ReplicaId, Timestamp};

impl SqlStore {
    pub(super) async fn count_active(&self) -> Result<HeldCounts, StoreError> {
        let work = async {
            let locks =
                self.query(self.general_pool(), &self.sweep, &self.sql.sweep.count_locks_held, []).await?;
            let permits =
                self.query(self.general_pool(), &self.sweep, &self.sql.sweep.count_permits_held, []).await?;
            let count =
                |rows: &[sea_orm::QueryResult]| rows.first().map_or(Ok(0), |row| row.try_get_by_index(0));
            Ok(HeldCounts { locks: count(&locks)?, permits: count(&permits)? })
        };
        self.sweep.run(Purpose::Read, work).await
    }

    pub(super) async fn try_lead_sweep(&self, me: ReplicaId, lease_ms: i64) -> Result<bool, StoreError> {
        let work = async {
            let values = [Value::from(me.0), Value::from(lease_ms)];
            let writer = self.writer(self.general_pool()).await?;
            self.execute(&writer, &self.sweep, &self.sql.sweep.lead_sweep, values).await?;
            let rows = self.query(&writer, &self.sweep, &self.sql.sweep.leader, []).await?;
            writer.finish().await?;
            let leader = rows.first().map(|row| row.try_get_by_index::<Uuid>(0)).transpose()?;
            Ok(leader == Some(me.0))
        };
        self.sweep.run(Purpose::Read, work).await
    }

    pub(super) async fn give_sweep_back(&self, me: ReplicaId) -> Result<(), StoreError> {
        let work = async {
            let writer = self.writer(self.general_pool()).await?;
            self.execute(&writer, &self.sweep, &self.sql.sweep.yield_sweep, [Value::from(me.0)]).await?;
            writer.finish().await
        };
        self.sweep.run(Purpose::Read, work).await
    }

    pub(super) async fn idle_page(
        &self,
        since: Timestamp,
        after: Option<&KeyId>,
        limit: u32,
    ) -> Result<Page<KeyId, KeyId>, StoreError> {
        let (tenant, key) = after.map_or(("", ""), |id| (id.tenant.as_str(), id.key.as_str()));
        let work = async {
            let values = [
                Value::from(since.0),
                Value::from(tenant),
                Value::from(tenant),
                Value::from(key),
                Value::from(i64::from(limit)),
            ];
            let rows =
                self.query(self.general_pool(), &self.sweep, &self.sql.sweep.idle_mutexes, values).await?;
            let mut items = Vec::new();
            for row in &rows {
                if row.try_get_by_index::<bool>(2)? {
                    items.push(read_id(row)?);
                }
            }
            let full = rows.len() == limit as usize;
            let next = rows.last().filter(|_| full).map(read_id).transpose()?;
            Ok(Page { items, next })
        };
        self.sweep.run(Purpose::Read, work).await
    }

    pub(super) async fn sweep_old_tombstones(
        &self,
        before: Timestamp,
        settle_ms: i64,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let work = async {
            let writer = self.writer(self.general_pool()).await?;
            let db = &writer;
            self.execute(db, &self.sweep, &self.sql.sweep.settle_floors, [Value::from(settle_ms)]).await?;
            let went = self.delete_tombstones(db, before, limit).await?;
            let values = [Value::from(before.0), Value::from(i64::from(limit) * 20)];
            let floors = self.query(db, &self.sweep, &self.sql.sweep.tombstone_floors, values).await?;
            for row in &floors {
                let (tenant, floor): (String, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                let values = [Value::from(tenant), Value::from(floor)];
                self.execute(db, &self.sweep, &self.sql.sweep.raise_floor, values).await?;
            }
            writer.finish().await?;
            Ok(went)
        };
        self.sweep.run(Purpose::Read, work).await
    }

    async fn delete_tombstones(
        &self,
        db: &impl ConnectionTrait,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, DbErr> {
        let values = [Value::from(before.0), Value::from(i64::from(limit))];
        let sql = &self.sql.sweep.delete_tombstones;
        match self.sql.dialect {
            Dialect::Sqlite | Dialect::Postgres => self.execute(db, &self.sweep, sql, values).await,
            Dialect::MariaDb | Dialect::MySql => {
                // These cannot delete from a table that the same statement selects from.
                let transaction = self.begin(self.general_pool(), &self.sweep).await?;
                let deleted = async {
                    let rows = self.query(&transaction, &self.sweep, sql, values).await?;
                    let ids: Vec<KeyId> = rows.iter().map(read_id).collect::<Result<_, _>>()?;
                    self.delete_rows(&transaction, &ids).await
                };
                let deleted = deleted.await;
                transaction.end(deleted).await
            }
        }
    }

    async fn delete_rows(&self, db: &impl ConnectionTrait, ids: &[KeyId]) -> Result<u64, DbErr> {
        let sql =
            self.sql.dialect.sql("/* delete_tombstone */ DELETE FROM locks WHERE tenant = ? AND {key} = ?");
        let mut went = 0;
        for id in ids {
            let values = [Value::from(id.tenant.as_str()), Value::from(id.key.as_str())];
            went += self.execute(db, &self.sweep, &sql, values).await?;
        }
        Ok(went)
    }
}
