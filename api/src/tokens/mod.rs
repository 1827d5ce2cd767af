//! Bearer tokens: one file an operation.

mod body;
pub(crate) mod create;
mod list;
mod revoke;

use bytes::Bytes;
use db_locks_service::{
    access::{Secret, Token, TokenId},
    store::Page,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{http::State, json::json_bytes};

/// A new token as `POST /tokens` answers it.
///
/// # Errors
/// If it cannot be written.
pub fn token_json(token: &Token, secret: &Secret) -> serde_json::Result<Bytes> {
    json_bytes(&body::NewTokenBody::new(token, secret.reveal()))
}

/// A page of tokens as `GET /tokens` answers it.
///
/// # Errors
/// If it cannot be written.
pub fn token_list_json(page: &Page<Token, TokenId>) -> serde_json::Result<Bytes> {
    json_bytes(&body::TokenList::from(page))
}

/// The routes of tokens.
pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(create::create_token, list::list_tokens))
        .routes(routes!(revoke::revoke_token))
}
