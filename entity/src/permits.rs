//! `permits`: the permits of semaphores: a row a slot that was ever granted.

use sea_orm::entity::prelude::*;

/// The permits of semaphores: a row a slot that was ever granted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "permits")]
pub struct Model {
    /// Whose semaphore it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant: String,
    /// The semaphore's key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// The slot, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub slot: i32,
    /// The version of the slot's last grant.
    pub version: Uuid,
    /// Whether its caller chose the version.
    pub chosen: bool,
    /// Its fencing token.
    pub token: i64,
    /// Who holds it, or held it last.
    pub owner: String,
    /// Its lease in milliseconds.
    pub lease_ms: i64,
    /// When it was granted, in epoch milliseconds.
    pub acquired_at_ms: i64,
    /// When its lease ends or ended, in epoch milliseconds.
    pub expires_at_ms: i64,
    /// Whether it was given back.
    pub released: bool,
    /// The attachment that the grant was answered to.
    pub nonce: i64,
    /// The text stored with it.
    pub data: Option<String>,
    /// When it last changed, in epoch milliseconds.
    pub updated_at_ms: i64,
}

/// None: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
