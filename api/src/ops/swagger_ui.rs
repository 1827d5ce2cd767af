//! Swagger UI under `/swagger-ui/`
//!
//! A crate has the files and could serve them too. They are served here instead, so that a request for a missing file is
//! answered with a problem document.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use super::page::page;
use crate::problem::{Problem, ProblemKind};

const ROOT: &str = "/swagger-ui/";

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::new(["/api-docs/openapi.json"]);
    Arc::new(config.try_it_out_enabled(true).display_request_duration(true))
});

/// Redirects to the page.
pub(super) async fn redirect() -> Response {
    redirect_with(StatusCode::PERMANENT_REDIRECT)
}

/// Redirects from `/` to the page. Temporary, because browsers remember a permanent redirect and `/` may get a page of its
/// own.
pub(super) async fn redirect_from_root() -> Response {
    redirect_with(StatusCode::TEMPORARY_REDIRECT)
}

fn redirect_with(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(ROOT));
    response
}

/// Serves the page, or one of its files.
pub(super) async fn serve(uri: Uri) -> Result<Response, Problem> {
    let path = uri.path().strip_prefix(ROOT).unwrap_or_default();
    let file = match utoipa_swagger_ui::serve(path, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(Problem::new(ProblemKind::RouteNotFound, "Swagger UI has no such file.")),
        Err(error) => {
            tracing::error!(error = &*error, "Swagger UI could not be configured");
            return Err(Problem::internal_error());
        }
    };
    let content_type = HeaderValue::from_str(&file.content_type).map_err(|_| Problem::internal_error())?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = page(content_type, bytes);
    if file.gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
