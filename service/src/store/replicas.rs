//! Replicas and their waiters, as the database knows them.

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use uuid::Uuid;

use super::{Beat, Peer, StoreError, WaitingRow, classify::Purpose, sql_store::SqlStore};
use crate::domain::{Key, KeyId, ReplicaId, RequestId, Tenant, Timestamp, Version};

impl SqlStore {
    pub(super) async fn join_replicas(&self, me: ReplicaId) -> Result<(), StoreError> {
        let sql = self
            .sql
            .dialect
            .sql("/* join */ INSERT INTO replicas (id, beat, started_at_ms) VALUES (?, 0, {now})");
        self.write_membership(&sql, [Value::from(me.0)]).await
    }

    pub(super) async fn beat_once(&self, me: ReplicaId) -> Result<Beat, StoreError> {
        let work = async {
            let sql = &self.sql.replicas;
            let rows = if let Some(both) = &sql.beat_and_peers {
                self.query(self.membership_pool(), &self.membership, both, [Value::from(me.0)]).await?
            } else {
                let writer = self.writer(self.membership_pool()).await?;
                self.execute(&writer, &self.membership, &sql.beat, [Value::from(me.0)]).await?;
                let rows = self.query(&writer, &self.membership, &sql.peers, []).await?;
                writer.finish().await?;
                rows
            };
            let mut beat =
                Beat { known: false, peers: Vec::with_capacity(rows.len()), db_time: Timestamp::default() };
            for row in &rows {
                let peer = read_peer(row)?;
                beat.known |= peer.replica == me;
                beat.peers.push(peer);
                beat.db_time = Timestamp(row.try_get_by_index(2)?);
            }
            Ok(beat)
        };
        self.membership.run(Purpose::Read, work).await
    }

    pub(super) async fn list_replicas(&self) -> Result<Vec<Peer>, StoreError> {
        let work = async {
            let rows =
                self.query(self.membership_pool(), &self.membership, &self.sql.replicas.peers, []).await?;
            rows.iter().map(read_peer).collect()
        };
        self.membership.run(Purpose::Read, work).await
    }

    pub(super) async fn part_replica(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError> {
        let condition = if beat.is_some() { " AND beat = ?" } else { "" };
        let sql = self.sql.dialect.sql(&format!("/* part */ DELETE FROM replicas WHERE id = ?{condition}"));
        let values = [Value::from(replica.0)].into_iter().chain(beat.map(Value::from));
        self.write_membership(&sql, values).await
    }

    async fn write_membership(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<(), StoreError> {
        let work = async {
            let writer = self.writer(self.membership_pool()).await?;
            self.execute(&writer, &self.membership, sql, values).await?;
            writer.finish().await
        };
        self.membership.run(Purpose::Read, work).await
    }

    /// Keys that a query names in its first two columns.
    pub(super) async fn query_ids(
        &self,
        db: &impl ConnectionTrait,
        operation: &super::sql_store::Operation,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<KeyId>, StoreError> {
        let work = async { self.query(db, operation, sql, values).await?.iter().map(read_id).collect() };
        operation.run(Purpose::Read, work).await
    }

    pub(super) async fn count_waiters_of(&self, me: ReplicaId) -> Result<i64, StoreError> {
        let work = async {
            let rows = self
                .query(self.hot_pool(), &self.offers, &self.sql.replicas.count_waiting, [Value::from(me.0)])
                .await?;
            rows.first().map_or(Ok(0), |row| row.try_get_by_index(0))
        };
        self.offers.run(Purpose::Read, work).await
    }

    pub(super) async fn waiters_of(&self, me: ReplicaId) -> Result<Vec<WaitingRow>, StoreError> {
        let work = async {
            let rows = self
                .query(self.hot_pool(), &self.offers, &self.sql.replicas.waiting, [Value::from(me.0)])
                .await?;
            let read = |row: &QueryResult| {
                let request_id: Option<i64> = row.try_get_by_index(3)?;
                Ok(WaitingRow {
                    id: read_id(row)?,
                    version: Version(row.try_get_by_index(2)?),
                    request_id: RequestId(request_id.unwrap_or_default()),
                })
            };
            rows.iter().map(read).collect()
        };
        self.offers.run(Purpose::Read, work).await
    }

    pub(super) async fn replicas_without_row(&self) -> Result<Vec<ReplicaId>, StoreError> {
        let work = async {
            let rows = self
                .query(self.membership_pool(), &self.membership, &self.sql.replicas.unknown_replicas, [])
                .await?;
            rows.iter().map(|row| row.try_get_by_index::<Uuid>(0).map(ReplicaId)).collect()
        };
        self.membership.run(Purpose::Read, work).await
    }
}

/// A replica and its beat from the first two columns.
fn read_peer(row: &QueryResult) -> Result<Peer, DbErr> {
    Ok(Peer { replica: ReplicaId(row.try_get_by_index(0)?), beat: row.try_get_by_index(1)? })
}

/// A key from the first two columns.
pub(super) fn read_id(row: &QueryResult) -> Result<KeyId, DbErr> {
    let tenant: String = row.try_get_by_index(0)?;
    let key: String = row.try_get_by_index(1)?;
    Ok(KeyId { tenant: Tenant::trusted(&tenant), key: Key::trusted(&key) })
}
