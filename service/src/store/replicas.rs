//! [`ReplicaStore`] over SQL: replicas and their waiters.
//!
//! Most statements are queries over entities. Written by hand are those that are sent again and again while somebody
//! waits: the heartbeat, and the searches for offers and lost waiters (`sql::ReplicaSql`).

use std::collections::BTreeSet;

use async_trait::async_trait;
use db_locks_entity::{replicas, waiters};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryResult, QuerySelect,
    QueryTrait, StatementBuilder, Value, sea_query::Expr,
};
use uuid::Uuid;

use super::{
    HeartbeatResult, Notifications, Peer, ReplicaStore, StoreError, WaitingRow,
    classify::Purpose,
    operation::Operation,
    postgres::PgNotifications,
    rows::{count, read_id},
    sql_store::SqlStore,
};
use crate::domain::{KeyId, ReplicaId, RequestId, Timestamp, Version};

#[async_trait]
impl ReplicaStore for SqlStore {
    async fn join(&self, me: ReplicaId) -> Result<(), StoreError> {
        let sql = self
            .sql
            .dialect
            .sql("/* join */ INSERT INTO replicas (id, beat, started_at_ms) VALUES (?, 0, {now})");
        self.gate.pass()?;
        let (pool, operation, sql) = (self.membership_pool(), &self.membership, &sql);
        let work = self.write("join", pool, operation, |db| {
            Box::pin(async move { self.execute(db, operation, sql, [Value::from(me.0)]).await.map(drop) })
        });
        operation.run(Purpose::Read, work).await
    }

    async fn heartbeat(&self, me: ReplicaId) -> Result<HeartbeatResult, StoreError> {
        self.gate.pass()?;
        let (pool, operation, sql) = (self.membership_pool(), &self.membership, &self.sql.replicas);
        let work = async {
            let rows = match &sql.beat_and_peers {
                Some(both) => self.query(pool, operation, both, [Value::from(me.0)]).await?,
                None => {
                    self.write("beat", pool, operation, |db| {
                        Box::pin(async move {
                            self.execute(db, operation, &sql.beat, [Value::from(me.0)]).await?;
                            self.query(db, operation, &sql.peers, []).await
                        })
                    })
                    .await?
                }
            };
            let peers = rows.iter().map(read_peer).collect::<Result<Vec<_>, _>>()?;
            let db_time = rows.last().map_or(Ok(0), |row| row.try_get_by_index(2))?;
            let known = peers.iter().any(|peer| peer.replica == me);
            Ok(HeartbeatResult { known, peers, db_time: Timestamp(db_time) })
        };
        operation.run(Purpose::Read, work).await
    }

    async fn peers(&self) -> Result<Vec<Peer>, StoreError> {
        let work = async {
            let (pool, sql) = (self.membership_pool(), &self.sql.replicas.peers);
            self.query(pool, &self.membership, sql, []).await?.iter().map(read_peer).collect()
        };
        self.membership.run(Purpose::Read, work).await
    }

    async fn leave(&self, replica: ReplicaId, beat: Option<i64>) -> Result<(), StoreError> {
        let row = replicas::Entity::delete_many()
            .filter(replicas::Column::Id.eq(replica.0))
            .apply_if(beat, |query, beat| query.filter(replicas::Column::Beat.eq(beat)))
            .into_query();
        self.gate.pass()?;
        let (pool, operation, row) = (self.membership_pool(), &self.membership, &row);
        let work =
            self.write("leave", pool, operation, |db| Box::pin(self.change(db, operation, "leave", row)));
        operation.run(Purpose::Read, work).await
    }

    async fn offers(&self, me: ReplicaId) -> Result<Vec<KeyId>, StoreError> {
        let work = async {
            let (sql, values) = (&self.sql.replicas.offers, [Value::from(me.0)]);
            let offers = self.query(self.hot_pool(), &self.offers, sql, values).await?;
            // A key may have several.
            let ids = offers.iter().map(read_id).collect::<Result<BTreeSet<_>, _>>()?;
            Ok(ids.into_iter().collect())
        };
        self.offers.run(Purpose::Read, work).await
    }

    async fn count_waiting(&self, me: ReplicaId) -> Result<i64, StoreError> {
        let work = async {
            let (sql, values) = (&self.sql.replicas.count_waiting, [Value::from(me.0)]);
            count(&self.query(self.hot_pool(), &self.offers, sql, values).await?)
        };
        self.offers.run(Purpose::Read, work).await
    }

    async fn waiting(&self, me: ReplicaId) -> Result<Vec<WaitingRow>, StoreError> {
        use waiters::Column::{Key, Nonce, Replica, Tenant, Version as VersionColumn};
        let query = waiters::Entity::find()
            .select_only()
            .columns([Tenant, Key, VersionColumn, Nonce])
            .filter(Replica.eq(me.0))
            .into_query();
        let read = |row: &QueryResult| {
            let request_id: Option<i64> = row.try_get_by_index(3)?;
            Ok(WaitingRow {
                id: read_id(row)?,
                version: Version(row.try_get_by_index(2)?),
                request_id: RequestId(request_id.unwrap_or_default()),
            })
        };
        let work = async {
            self.select(self.hot_pool(), &self.offers, "waiting", &query).await?.iter().map(read).collect()
        };
        self.offers.run(Purpose::Read, work).await
    }

    async fn keys_waited_for(&self, replica: ReplicaId, limit: u32) -> Result<Vec<KeyId>, StoreError> {
        let query = waiters::Entity::find()
            .select_only()
            .distinct()
            .columns([waiters::Column::Tenant, waiters::Column::Key])
            .filter(waiters::Column::Replica.eq(replica.0))
            .limit(u64::from(limit));
        self.select_ids(self.membership_pool(), &self.membership, "keys_waited_for", &query.into_query())
            .await
    }

    async fn unknown_replicas(&self) -> Result<Vec<ReplicaId>, StoreError> {
        let (waiter, replica) = (waiters::Column::Replica.into_expr(), replicas::Column::Id.into_expr());
        let row =
            replicas::Entity::find().select_only().column(replicas::Column::Id).filter(replica.eq(waiter));
        let query = waiters::Entity::find()
            .select_only()
            .distinct()
            .column(waiters::Column::Replica)
            .filter(waiters::Column::Replica.is_not_null())
            .filter(Expr::exists(row.into_query()).not())
            .into_query();
        let work = async {
            let pool = self.membership_pool();
            let rows = self.select(pool, &self.membership, "unknown_replicas", &query).await?;
            rows.iter().map(|row| row.try_get_by_index::<Uuid>(0).map(ReplicaId)).collect()
        };
        self.membership.run(Purpose::Read, work).await
    }

    async fn notifications(&self, me: ReplicaId) -> Result<Option<Box<dyn Notifications>>, StoreError> {
        let Some(servers) = &self.pools.listened_to else { return Ok(None) };
        Ok(Some(Box::new(PgNotifications::listen(servers.clone(), me).await?)))
    }
}

impl SqlStore {
    /// Selects keys with a query over entities. Its first two columns are tenant and key.
    pub(super) async fn select_ids(
        &self,
        db: &impl ConnectionTrait,
        operation: &Operation,
        name: &str,
        query: &impl StatementBuilder,
    ) -> Result<Vec<KeyId>, StoreError> {
        let work = async { self.select(db, operation, name, query).await?.iter().map(read_id).collect() };
        operation.run(Purpose::Read, work).await
    }
}

/// Reads a replica and its heartbeat counter from the first two columns.
fn read_peer(row: &QueryResult) -> Result<Peer, DbErr> {
    Ok(Peer { replica: ReplicaId(row.try_get_by_index(0)?), beat: row.try_get_by_index(1)? })
}
