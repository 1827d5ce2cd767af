//! `sweep_lease`: the lease of the one replica that sweeps: a single row.

use sea_orm::entity::prelude::*;

/// The lease of the one replica that sweeps: a single row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sweep_lease")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The replica that sweeps.
    pub holder: Uuid,
    /// When the lease ends, in epoch milliseconds.
    pub expires_at_ms: i64,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
