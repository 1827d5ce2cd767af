//! The JSON of tokens.

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
    /// The id of the token.
    #[schema(value_type = String, format = "uuid", example = "019ac1b0-7b21-7f6e-8c3d-52d0c1b9e864")]
    id: String,
    /// The name of the token.
    #[schema(example = "ci")]
    name: &'a str,
    /// The only tenant that the token may use; null for all tenants.
    #[schema(required, example = "acme")]
    tenant: Option<&'a str>,
    /// The role of the token: `read`, `write` or `admin`.
    #[schema(example = "write")]
    role: &'static str,
    /// The token may use only keys that match one of these globs; null for all keys.
    #[schema(required, example = json!(["deploy/*"]))]
    keys: Option<Vec<&'a str>>,
    /// The time when the token was created.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    created_at: Rfc3339,
    /// The time from which the token is rejected; null if it never expires.
    #[schema(required, value_type = Option<String>, format = DateTime, example = "2027-11-23T05:06:53.381Z")]
    expires_at: Option<Rfc3339>,
    /// The time of the last use, exact to about a minute; null if the token was never used.
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
    /// The id of the token.
    #[schema(value_type = String, format = "uuid", example = "019ac1b0-7b21-7f6e-8c3d-52d0c1b9e864")]
    id: String,
    /// The secret of the token, to be sent as `Authorization: Bearer …`. Only this answer shows it.
    #[schema(example = "dbl_47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")]
    token: &'a str,
    /// The name of the token.
    #[schema(example = "ci")]
    name: &'a str,
    /// The only tenant that the token may use; null for all tenants.
    #[schema(required, example = "acme")]
    tenant: Option<&'a str>,
    /// The role of the token: `read`, `write` or `admin`.
    #[schema(example = "write")]
    role: &'static str,
    /// The token may use only keys that match one of these globs; null for all keys.
    #[schema(required, example = json!(["deploy/*"]))]
    keys: Option<Vec<&'a str>>,
    /// The time when the token was created.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    created_at: Rfc3339,
    /// The time from which the token is rejected; null if it never expires.
    #[schema(required, value_type = Option<String>, format = DateTime, example = "2027-11-23T05:06:53.381Z")]
    expires_at: Option<Rfc3339>,
    /// Null, because the token was never used.
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
    /// The `cursor` of the next page; null on the last page.
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
