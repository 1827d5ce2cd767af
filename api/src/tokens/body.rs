//! A token as it is answered.

use db_locks_service::{
    Rfc3339,
    access::{Glob, KeyPatterns, Token, TokenId},
    store::Page,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::Cursor;

/// A bearer token, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenBody<'a> {
    /// Its id.
    #[schema(value_type = String, format = "uuid", example = "019ac1b0-7b21-7f6e-8c3d-52d0c1b9e864")]
    id: String,
    /// Its name.
    #[schema(example = "ci")]
    name: &'a str,
    /// The only tenant that it may act for; null: all.
    #[schema(required, example = "acme")]
    tenant: Option<&'a str>,
    /// What it may do: `read`, `write` or `admin`.
    #[schema(example = "write")]
    role: &'static str,
    /// The globs that its keys must match; null: all keys.
    #[schema(required, example = json!(["deploy/*"]))]
    keys: Option<Vec<&'a str>>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    created_at: Rfc3339,
    /// From when on it is refused; null: never.
    #[schema(required, value_type = Option<String>, format = DateTime, example = "2027-11-23T05:06:53.381Z")]
    expires_at: Option<Rfc3339>,
    /// When it was last used, to about a minute; null: never.
    #[schema(required, value_type = Option<String>, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    last_used_at: Option<Rfc3339>,
}

impl<'a> From<&'a Token> for TokenBody<'a> {
    fn from(token: &'a Token) -> Self {
        let globs = |keys: &'a KeyPatterns| keys.globs().iter().map(Glob::as_str).collect();
        Self {
            id: token.id.0.to_string(),
            name: &token.name,
            tenant: token.scope.tenant.as_ref().map(db_locks_service::domain::Tenant::as_str),
            role: token.scope.role.name(),
            keys: token.scope.keys.as_ref().map(globs),
            created_at: token.created_at.into(),
            expires_at: token.expires_at.map(Into::into),
            last_used_at: token.last_used_at.map(Into::into),
        }
    }
}

/// A new token, with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = NewToken)]
pub(super) struct NewTokenBody<'a> {
    /// Its id.
    #[schema(value_type = String, format = "uuid", example = "019ac1b0-7b21-7f6e-8c3d-52d0c1b9e864")]
    id: String,
    /// Its secret: what is sent as `Authorization: Bearer …`. It is shown here and nowhere else.
    #[schema(example = "dbl_47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")]
    token: &'a str,
    /// Its name.
    #[schema(example = "ci")]
    name: &'a str,
    /// The only tenant that it may act for; null: all.
    #[schema(required, example = "acme")]
    tenant: Option<&'a str>,
    /// What it may do: `read`, `write` or `admin`.
    #[schema(example = "write")]
    role: &'static str,
    /// The globs that its keys must match; null: all keys.
    #[schema(required, example = json!(["deploy/*"]))]
    keys: Option<Vec<&'a str>>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    created_at: Rfc3339,
    /// From when on it is refused; null: never.
    #[schema(required, value_type = Option<String>, format = DateTime, example = "2027-11-23T05:06:53.381Z")]
    expires_at: Option<Rfc3339>,
    /// Null: it was never used.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Rfc3339>,
}

impl<'a> NewTokenBody<'a> {
    /// A token that was just created.
    pub(super) fn new(token: &'a Token, secret: &'a str) -> Self {
        let TokenBody { id, name, tenant, role, keys, created_at, expires_at, last_used_at } = token.into();
        Self { id, token: secret, name, tenant, role, keys, created_at, expires_at, last_used_at }
    }
}

/// One page of tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenList)]
pub(super) struct TokenList<'a> {
    /// The items of this page.
    items: Vec<TokenBody<'a>>,
    /// What to send as `cursor` to get the next page; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<'a> From<&'a Page<Token, TokenId>> for TokenList<'a> {
    fn from(page: &'a Page<Token, TokenId>) -> Self {
        Self {
            items: page.items.iter().map(TokenBody::from).collect(),
            next_cursor: page.next.as_ref().map(Cursor::write),
        }
    }
}
