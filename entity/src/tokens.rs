//! `db_locks_tokens`: bearer tokens, without their secrets.

use sea_orm::entity::prelude::*;

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "db_locks_tokens")]
pub struct Model {
    /// The id of the token. Ids grow with time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The SHA-256 of the token's secret.
    pub hash: Vec<u8>,
    /// The name of the token.
    pub name: String,
    /// The only tenant that the bearer may act for; NULL: all.
    pub tenant: Option<String>,
    /// `read`, `write` or `admin`.
    pub role: String,
    /// The globs of the keys that the bearer may use, as a JSON array; NULL: all keys.
    #[sea_orm(column_type = "Text")]
    pub key_patterns: Option<String>,
    /// When the token was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// The time from which the token is refused, in epoch milliseconds; NULL: never.
    pub expires_at_ms: Option<i64>,
    /// When the token was last used, in epoch milliseconds, to about a minute.
    pub last_used_at_ms: Option<i64>,
}

/// No relations: rows are found by their keys.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
