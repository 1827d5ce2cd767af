//! `GET /problems/{name}`

use axum::{
    http::{HeaderValue, Uri},
    response::Response,
};

use super::page::page;
use crate::{
    problem::{Problem, ProblemKind, problems},
    request::NoQuery,
};

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

problems!(GetProblemErrors: Protectable, NotFound, RouteNotFound);

/// Explain the `type` of a problem
///
/// The `type` of each problem is the address of its explanation.
#[utoipa::path(
    get,
    path = "/problems/{name}",
    tag = "operating",
    params(("name" = String, Path, description = "The last segment of the `type`.", min_length = 1, example = "not-granted")),
    responses(
        (status = 200, description = "An explanation for people to read.", body = String, content_type = "text/plain"),
        GetProblemErrors
    )
)]
pub(crate) async fn get_problem(_: NoQuery, uri: Uri) -> Result<Response, Problem> {
    // No name has a character that would be escaped.
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let Some(kind) = ProblemKind::named(name) else {
        return Err(Problem::new(ProblemKind::NotFound, "There is no problem of this name."));
    };
    let properties = kind.properties();
    let text = format!(
        "{title} ({name}, status {status})\n\n{when}\n\n{advice}\n",
        title = properties.title,
        status = properties.status,
        when = properties.when,
        advice = properties.advice
    );
    Ok(page(PLAIN_TEXT, text))
}
