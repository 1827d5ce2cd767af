//! `POST /tokens`

use std::sync::Arc;

use axum::{extract, http::StatusCode, response::Response};
use db_locks_service::{
    access::{KeyPatterns, NewToken, Role, Scope, Token, TokenError},
    audit::AuditEvent,
    domain::{Tenant, Timestamp},
};
use utoipa::ToSchema;

use super::{body::NewTokenBody, record};
use crate::{
    answer::json_created,
    http::State,
    problem::{Problem, problems},
    request::{Defaults, Fields, ReadBody, WithBody},
};

/// The name of a token, and its rights.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is the schema of what `CreateToken` reads")]
struct CreateTokenBody {
    /// The name of the token, as lists and the audit log show it.
    name: String,
    /// `read` allows reading, without versions. `write` allows acquiring and releasing too. `admin` allows everything.
    role: String,
    /// The only tenant that the token may use. The default is the tenant of the creator's credential, or all tenants if
    /// the credential has none.
    tenant: Option<String>,
    /// The token may use only keys that match one of these globs. `*` stands for any characters, `?` for one character,
    /// and a backslash quotes the next character. By default the token may use all keys.
    keys: Option<Vec<String>>,
    /// The time from which the token is rejected, in RFC 3339. By default it never expires.
    expires_at: Option<String>,
}

/// The body of a request for a token.
pub(crate) struct CreateToken {
    name: String,
    role: Role,
    tenant: Option<Tenant>,
    keys: Option<KeyPatterns>,
    expires_at: Option<Timestamp>,
}

impl ReadBody for CreateToken {
    fn read(fields: &mut Fields<'_>, _: &Defaults) -> Option<Self> {
        let name = fields.required("name", |fields| fields.owner("name"));
        let role = fields.required("role", |fields| fields.parsed("role"));
        let tenant = fields.tenant("tenant");
        let keys = fields.key_patterns("keys");
        let expires_at = fields.time("expires_at");
        Some(Self { name: name?.as_str().to_owned(), role: role?, tenant, keys, expires_at })
    }
}

problems!(CreateTokenProblems: KeysWithBody);

/// Create a token
///
/// For administrators. If the administrator's credential is limited to a tenant or to key patterns, it can create only
/// tokens within these limits. If it expires, administrators that it creates must not outlive it; tokens with other roles may.
/// Only this answer contains the secret.
#[utoipa::path(
    post,
    path = "/tokens",
    tag = "tokens",
    request_body(content = CreateTokenBody, example = json!({"name": "ci", "role": "write", "keys": ["deploy/*"]})),
    responses((status = 201, description = "Created.", body = NewTokenBody<'_>), CreateTokenProblems)
)]
pub(crate) async fn create_token(
    extract::State(app): extract::State<State>,
    WithBody { body, caller }: WithBody<CreateToken>,
) -> Result<Response, Problem> {
    let by = caller.identity();
    let tenant = body.tenant.or_else(|| by.and_then(|admin| admin.tenant.clone()));
    let scope = Scope { tenant, role: body.role, keys: body.keys };
    let new = NewToken { name: body.name, scope, expires_at: body.expires_at };
    let created = {
        let app = Arc::clone(&app);
        move |token: &Token| record(&app, AuditEvent::TokenCreated, StatusCode::CREATED, token)
    };
    let (token, secret) = app.tokens.create(new, by, created).await.map_err(|error| match error {
        TokenError::OutOfScope => Problem::forbidden(
            "The token would allow more than the tenant and the key patterns of its creator.",
        ),
        TokenError::ReservedName => Problem::invalid_field("name", "is that of the first administrator"),
        TokenError::TooMany | TokenError::Outlives(_) => Problem::forbidden(format!("Not created: {error}.")),
        TokenError::Expired => Problem::invalid_field("expires_at", "must be in the future"),
        other => Problem::from(other),
    })?;
    Ok(json_created(&NewTokenBody::new(&token, secret.reveal()), true))
}
