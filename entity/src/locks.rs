//! `locks`: the keys: a row a lock, semaphore or tombstone.

use sea_orm::entity::prelude::*;

/// The keys: a row a lock, semaphore or tombstone.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "locks")]
pub struct Model {
    /// Whose key it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant: String,
    /// The key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// Marks the last write of the row.
    pub stamp: Uuid,
    /// NULL in every row that stays: it shows, within the statement, a row created by a write that was decided on one.
    pub prev_stamp: Option<Uuid>,
    /// 0: deleted, 1: mutex, 2: semaphore.
    pub kind: i16,
    /// The last fencing token granted.
    pub token: i64,
    /// The text stored with a mutex.
    pub data: Option<String>,
    /// The version of a mutex's last grant.
    pub version: Option<Uuid>,
    /// Whether its caller chose the version.
    pub chosen: bool,
    /// Who holds the mutex, or held it last.
    pub owner: Option<String>,
    /// The lease of a mutex's last grant, or the default lease of a semaphore's permits, in milliseconds.
    pub lease_ms: Option<i64>,
    /// When it was granted, in epoch milliseconds.
    pub acquired_at_ms: Option<i64>,
    /// When its lease ends or ended, in epoch milliseconds.
    pub expires_at_ms: Option<i64>,
    /// Whether it was given back.
    pub released: bool,
    /// Whether the mutex goes when the grant ends.
    pub delete_on_release: bool,
    /// The attachment that the grant was answered to.
    pub nonce: Option<i64>,
    /// The last chosen versions whose grants were replaced, 16 bytes each, the newest last.
    pub ended: Vec<u8>,
    /// How many permits of a semaphore may be out.
    pub max_size: Option<i32>,
    /// How many of its permits were ever granted: its rows in `permits`.
    pub slots: i32,
    /// How many wait: its rows in `waiters`.
    pub waiters: i64,
    /// The order that the next one who waits gets.
    pub next_seq: i64,
    /// When the lock or semaphore was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// When it last changed, in epoch milliseconds.
    pub updated_at_ms: i64,
    /// Since when the sweeper may look at it, in epoch milliseconds; NULL: never.
    pub sweep_at_ms: Option<i64>,
}

/// None: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
