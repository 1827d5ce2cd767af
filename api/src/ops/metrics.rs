//! `GET /metrics`

use axum::{extract, http::HeaderValue, response::Response};

use super::page::page;
use crate::{
    http::{BodyMemory, State},
    problem::{Problem, problems},
    request::NoQuery,
};

/// The text format of Prometheus.
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

problems!(GetMetricsProblems: Protectable);

/// Get the metrics
///
/// Answers the metrics in the text format of Prometheus. They contain no keys, tenants or owners.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operating",
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
        GetMetricsProblems
    )
)]
pub(crate) async fn get_metrics(
    extract::State(app): extract::State<State>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let mut response = page(PROMETHEUS_TEXT, app.metrics.text().await?);
    response.extensions_mut().insert(BodyMemory::Metrics);
    Ok(response)
}
