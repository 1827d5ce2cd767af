//! `locks`: one row for each lock, semaphore and tombstone.

use sea_orm::entity::prelude::*;

/// A lock, semaphore or tombstone.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "locks")]
pub struct Model {
    /// The tenant of the key.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub tenant: String,
    /// The key.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(255))")]
    pub key: String,
    /// The version of the row, new with every write.
    pub stamp: Uuid,
    /// NULL in every committed row. Within a statement it marks a row that a write has created although it was decided
    /// on an existing one.
    pub prev_stamp: Option<Uuid>,
    /// 0: deleted, 1: mutex, 2: semaphore, 3 to 6: guarded mutex, 7: guarded semaphore (see `store::rows` of the
    /// service).
    pub kind: i16,
    /// The last fencing token granted.
    pub token: i64,
    /// The text stored with a mutex.
    #[sea_orm(column_type = "Text")]
    pub data: Option<String>,
    /// The version of a mutex's last grant.
    pub version: Option<Uuid>,
    /// Whether the caller chose the version.
    pub chosen: bool,
    /// The owner that holds the mutex, or held it last.
    #[sea_orm(column_type = "String(StringLen::N(300))")]
    pub owner: Option<String>,
    /// The lease of a mutex's last grant, or the default lease of a semaphore's permits, in milliseconds.
    pub lease_ms: Option<i64>,
    /// When the mutex was granted, in epoch milliseconds.
    pub acquired_at_ms: Option<i64>,
    /// When the lease ends or ended, in epoch milliseconds.
    pub expires_at_ms: Option<i64>,
    /// Whether the grant was released.
    pub released: bool,
    /// Whether the mutex is deleted when the grant ends.
    pub delete_on_release: bool,
    /// The id of the request that was answered with the grant.
    pub nonce: Option<i64>,
    /// Digests of the last chosen versions whose grants have ended, and the grants that operators ended by force.
    pub ended: Vec<u8>,
    /// The number of permits of a semaphore.
    pub max_size: Option<i32>,
    /// The number of the semaphore's rows in `permits`.
    pub slots: i32,
    /// The length of the key's queue: its rows in `waiters`.
    pub waiters: i64,
    /// The `seq` of the next waiter.
    pub next_seq: i64,
    /// When the lock or semaphore was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// When the lock or semaphore last changed, in epoch milliseconds.
    pub updated_at_ms: i64,
    /// When the sweeper may look at the row, in epoch milliseconds, plus 2^60 for a deleted key; NULL: never.
    pub sweep_at_ms: Option<i64>,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
