//! `PUT /semaphores/{key}`

use axum::{extract, response::Response};
use db_locks_service::domain::MOST_GUARDED_PERMITS;
use utoipa::ToSchema;

use crate::{
    answer::{SemaphoreBody, json_created},
    http::State,
    problem::{Problem, TOO_LARGE_TO_GUARD, problems},
    request::{Defaults, Fields, KeyWithBody, ReadBody, SemaphoreKeyParam, TenantParam},
};

/// The size of a semaphore, and the settings of its permits.
#[derive(ToSchema)]
pub(crate) struct PutSemaphoreBody {
    /// The number of permits that can be held at the same time.
    max_size: i32,
    /// The lease of permits that are acquired without a lease of their own, in milliseconds. By default a new semaphore
    /// has 15000 (or the maximum, if that is less), and an existing one stays as it is.
    lease_duration_ms: Option<i64>,
    /// Whether the permits are guarded from now on, which requires a `max_size` of at most 1000. By default an existing
    /// semaphore stays as it is, and a new one is not guarded.
    guarded: Option<bool>,
}

impl ReadBody for PutSemaphoreBody {
    fn read(fields: &mut Fields<'_>, defaults: &Defaults) -> Option<Self> {
        let max_size = fields.required("max_size", Fields::semaphore_size);
        let lease_duration_ms = fields.lease(defaults);
        let guarded = fields.given_flag("guarded");
        if guarded == Some(true) && max_size.is_some_and(|size| size > MOST_GUARDED_PERMITS) {
            fields.error("max_size", TOO_LARGE_TO_GUARD);
        }
        Some(Self { max_size: max_size?, lease_duration_ms, guarded })
    }
}

problems!(PutSemaphoreProblems: KeysWithBody, InUse, GuardedTransactionOpen, WrongKind);

/// Create or resize a semaphore
///
/// A larger size serves waiting requests at once. A smaller size takes no permit away from its holder. If more permits
/// are held than the new size allows, none is granted until enough of them are free.
#[utoipa::path(
    put,
    path = "/semaphores/{key}",
    tag = "semaphores",
    params(SemaphoreKeyParam, TenantParam),
    request_body(content = PutSemaphoreBody, example = json!({"max_size": 3, "lease_duration_ms": 15_000})),
    responses(
        (status = 200, description = "The semaphore existed; it was resized.", body = SemaphoreBody<'_>),
        (status = 201, description = "Created.", body = SemaphoreBody<'_>),
        PutSemaphoreProblems
    )
)]
pub(crate) async fn put_semaphore(
    extract::State(app): extract::State<State>,
    KeyWithBody { id, body, .. }: KeyWithBody<PutSemaphoreBody>,
) -> Result<Response, Problem> {
    let (view, created) =
        app.service.put_semaphore(id, body.max_size, body.lease_duration_ms, body.guarded).await?;
    Ok(json_created(&SemaphoreBody::from(&view), created))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::request::read_body;

    fn read(body: &str) -> Result<i32, Vec<String>> {
        read_body(body).map(|body: PutSemaphoreBody| body.max_size)
    }

    #[test]
    fn the_size_is_required_and_in_range() {
        assert_eq!(read(r#"{"max_size":1}"#), Ok(1));
        assert_eq!(read(r#"{"max_size":1000000}"#), Ok(1_000_000));
        for body in ["", "{}", r#"{"max_size":null}"#, r#"{"max_size":0}"#, r#"{"max_size":1000001}"#] {
            assert_eq!(read(body).unwrap_err(), ["max_size"], "{body}");
        }
    }
}
