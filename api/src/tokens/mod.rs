//! Bearer tokens: one file for each operation.

mod body;
pub(crate) mod create;
mod list;
mod revoke;

use axum::http::StatusCode;
use bytes::Bytes;
use db_locks_service::{
    access::{Secret, Token, TokenId},
    audit::AuditEvent,
    store::Page,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{App, State},
    json::json_bytes,
};

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

/// Writes an audit record about a token.
fn record(app: &App, event: AuditEvent, status: StatusCode, token: &Token) {
    let reason = format!("{} ({}, {})", token.name, token.scope.role, token.id.0);
    app.service.record(event, None, |record| {
        record.tenant = token.scope.tenant.as_ref();
        record.status = Some(status.as_u16());
        record.reason = Some(&reason);
    });
}

/// The routes of tokens.
pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(create::create_token, list::list_tokens))
        .routes(routes!(revoke::revoke_token))
}
