//! `waiters`: one row for each waiter; a queue is in the order of `seq`.

use sea_orm::entity::prelude::*;

/// A waiter.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "waiters")]
pub struct Model {
    /// The tenant of the key.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub tenant: String,
    /// The key.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(255))")]
    pub key: String,
    /// The waiter's order within the key's queue.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// The version of the future grant.
    pub version: Uuid,
    /// Whether the caller chose the version.
    pub chosen: bool,
    /// The owner of the future grant.
    #[sea_orm(column_type = "String(StringLen::N(300))")]
    pub owner: String,
    /// The lease of the future grant in milliseconds.
    pub lease_ms: i64,
    /// The data to store.
    #[sea_orm(column_type = "Text")]
    pub data: Option<String>,
    /// Whether the data replaces the data of the mutex.
    pub replace_data: bool,
    /// Whether the mutex is deleted when the future grant ends.
    pub delete_on_release: bool,
    /// The replica that the waiter is attached at; NULL for a detached waiter.
    pub replica: Option<Uuid>,
    /// The id of the waiter's request; NULL for a detached waiter.
    pub nonce: Option<i64>,
    /// When the offer of a free place to the waiter ends, in epoch milliseconds; NULL without an offer.
    pub offered_until_ms: Option<i64>,
    /// Until when a detached waiter keeps its place, in epoch milliseconds.
    pub detached_until_ms: Option<i64>,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
