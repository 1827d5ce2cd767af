//! `permits`: one row for each slot of a semaphore that was ever granted.

use sea_orm::entity::prelude::*;

/// A permit of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "permits")]
pub struct Model {
    /// The tenant of the key.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub tenant: String,
    /// The semaphore's key.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(255))")]
    pub key: String,
    /// The slot, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub slot: i32,
    /// The version of the slot's last grant.
    pub version: Uuid,
    /// Whether the caller chose the version.
    pub chosen: bool,
    /// The fencing token of the grant.
    pub token: i64,
    /// The owner that holds the permit, or held it last.
    #[sea_orm(column_type = "String(StringLen::N(300))")]
    pub owner: String,
    /// The lease in milliseconds.
    pub lease_ms: i64,
    /// When the permit was granted, in epoch milliseconds.
    pub acquired_at_ms: i64,
    /// When the lease ends or ended, in epoch milliseconds.
    pub expires_at_ms: i64,
    /// Whether the grant was released.
    pub released: bool,
    /// The id of the request that was answered with the grant.
    pub nonce: i64,
    /// The text stored with the permit.
    #[sea_orm(column_type = "Text")]
    pub data: Option<String>,
    /// When the permit last changed, in epoch milliseconds.
    pub updated_at_ms: i64,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
