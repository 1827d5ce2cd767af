//! `GET /health`

use axum::{body::Body, response::Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::json_response,
    problem::{Problem, problems},
    request::NoQuery,
};

/// The answer of a healthy process.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

problems!(GetHealthProblems: Operating);

/// Check that the process answers
///
/// Does not ask the database: a restart of the service would not bring back a database that is away.
#[utoipa::path(
    get,
    path = "/health",
    tag = "operating",
    responses((status = 200, description = "The process answers.", body = Health), GetHealthProblems)
)]
pub(crate) async fn get_health(_: NoQuery) -> Result<Response, Problem> {
    Ok(json_response(Body::from(Bytes::from_static(b"{\"status\":\"ok\"}\n"))))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::json::json_bytes;

    #[tokio::test]
    async fn the_text_is_the_documented_type() {
        let answer = get_health(NoQuery).await.unwrap();
        let text = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        assert_eq!(text, json_bytes(&Health { status: "ok" }).unwrap());
    }
}
