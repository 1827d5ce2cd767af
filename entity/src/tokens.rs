//! `db_locks_tokens`: bearer tokens, without their secrets.

use sea_orm::entity::prelude::*;

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "db_locks_tokens")]
pub struct Model {
    /// Its id; ids grow with time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The SHA-256 of its secret.
    pub hash: Vec<u8>,
    /// Its name.
    pub name: String,
    /// The only tenant that it may act for; NULL: all.
    pub tenant: Option<String>,
    /// `read`, `write` or `admin`.
    pub role: String,
    /// The globs that its keys must match, as a JSON array; NULL: all keys.
    #[sea_orm(column_type = "Text")]
    pub key_patterns: Option<String>,
    /// When it was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// From when on it is refused, in epoch milliseconds.
    pub expires_at_ms: Option<i64>,
    /// When it was last used, in epoch milliseconds, to about a minute.
    pub last_used_at_ms: Option<i64>,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
