//! `waiters`: those who wait, in the order of `seq`.

use sea_orm::entity::prelude::*;

/// Those who wait, in the order of `seq`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "waiters")]
pub struct Model {
    /// Whose key they wait for.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant: String,
    /// The key they wait for.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// The order within the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// The version of the grant-to-be.
    pub version: Uuid,
    /// Whether its caller chose the version.
    pub chosen: bool,
    /// The owner of the grant-to-be.
    pub owner: String,
    /// Its lease in milliseconds.
    pub lease_ms: i64,
    /// The data to store.
    pub data: Option<String>,
    /// Whether the data takes the place of what the mutex has.
    pub replace_data: bool,
    /// Whether the mutex goes when the grant-to-be ends.
    pub delete_on_release: bool,
    /// The replica whose connection waits; NULL while the place is only kept.
    pub replica: Option<Uuid>,
    /// The attachment.
    pub nonce: Option<i64>,
    /// A freed place is kept for it until then, in epoch milliseconds.
    pub offered_until_ms: Option<i64>,
    /// Without a connection it keeps its place until then, in epoch milliseconds.
    pub detached_until_ms: Option<i64>,
}

/// None: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
