//! `token_floors`: the floor of each tenant above which new keys begin their tokens.

use sea_orm::entity::prelude::*;

/// The floor of each tenant above which new keys begin their tokens.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "token_floors")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant: String,
    /// What creations read.
    pub floor: i64,
    /// Tombstones at or below may go.
    pub settled_floor: i64,
    /// When the floor was raised, in epoch milliseconds.
    pub raised_at_ms: i64,
}

/// None: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
