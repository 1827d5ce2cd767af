//! `DELETE /tokens/{id}`

use std::sync::Arc;

use axum::{
    extract,
    http::{StatusCode, Uri},
};
use db_locks_service::{
    access::{Token, TokenError, TokenId},
    audit::AuditEvent,
};
use uuid::Uuid;

use super::record;
use crate::{
    http::State,
    problem::{Problem, ProblemKind, problems},
    request::{CallerWithQuery, NoQuery},
};

/// The id in the example of the document. No token has this id, so revoking it changes nothing, and the example works
/// on every service.
const EXAMPLE: Uuid = Uuid::from_u128(0x019a_c1b0_7b21_7f6e_8c3d_52d0_c1b9_e864);

problems!(RevokeTokenProblems: Keys, NotFound);

/// Revoke a token
///
/// For administrators. From 2 seconds after the answer, every replica rejects the token.
#[utoipa::path(
    delete,
    path = "/tokens/{id}",
    tag = "tokens",
    params(("id" = String, Path, description = "The id of the token.", format = "uuid", example = "019ac1b0-7b21-7f6e-8c3d-52d0c1b9e864")),
    responses((status = 204, description = "Revoked."), RevokeTokenProblems)
)]
pub(crate) async fn revoke_token(
    extract::State(app): extract::State<State>,
    CallerWithQuery { caller, query: NoQuery }: CallerWithQuery<NoQuery>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let none = || Problem::new(ProblemKind::NotFound, "There is no token of this id.");
    // No UUID has a character that would be escaped.
    let id = uri
        .path()
        .rsplit('/')
        .next()
        .and_then(|id| Uuid::try_parse(id).ok())
        .map(TokenId)
        .ok_or_else(none)?;
    if id.0 == EXAMPLE {
        return Ok(StatusCode::NO_CONTENT);
    }
    let revoked = {
        let app = Arc::clone(&app);
        move |token: &Token| {
            if let Some(authentication) = &app.authentication {
                authentication.forget(id);
            }
            record(&app, AuditEvent::TokenRevoked, StatusCode::NO_CONTENT, token);
        }
    };
    app.tokens.revoke(id, caller.identity(), revoked).await.map_err(|error| match error {
        TokenError::NotFound => none(),
        other => Problem::from(other),
    })?;
    Ok(StatusCode::NO_CONTENT)
}
