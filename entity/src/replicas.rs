//! `replicas`: the replicas that have waiters.

use sea_orm::entity::prelude::*;

/// The replicas that have waiters.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "replicas")]
pub struct Model {
    /// The replica's id, new with each start.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// A counter that the replica increments every second.
    pub beat: i64,
    /// When the replica joined, in epoch milliseconds. Nothing is decided by this time.
    pub started_at_ms: i64,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
