//! `token_floors`: the floor of each tenant above which new keys begin their tokens.

use sea_orm::entity::prelude::*;

/// The floor of each tenant above which new keys begin their tokens.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "token_floors")]
pub struct Model {
    /// The tenant.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant: String,
    /// The number above which the tokens of a new key begin.
    pub floor: i64,
    /// The highest token of a tombstone that may be removed.
    pub settled_floor: i64,
    /// When the floor was raised, in epoch milliseconds.
    pub raised_at_ms: i64,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
