//! What surrounds every request: its id, its metrics, its line in the log, and what becomes of a panic.
//!
//! One service around the router instead of a layer for each: a layer of the router's is put around every route, and
//! costs every request two allocations.

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tower::Service;
use tracing::{Span, debug, debug_span, error, warn};

use crate::{
    metrics::{HttpMetrics, RouteIndex},
    problem::Problem,
    request_id::{self, REQUEST_ID},
};

const CLOSE: HeaderValue = HeaderValue::from_static("close");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The routes, and what surrounds their requests.
#[derive(Debug, Clone)]
pub struct Boundary<S> {
    inner: S,
    metrics: Arc<HttpMetrics>,
}

impl<S> Boundary<S> {
    /// Surrounds routes, and counts in these metrics.
    pub(crate) fn new(inner: S, metrics: HttpMetrics) -> Self {
        Self { inner, metrics: Arc::new(metrics) }
    }
}

impl<S> Service<Request> for Boundary<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let id = request_id::of(request.headers());
        let path = request.uri().path();
        let empty_key = has_empty_key(path);
        let found = self.metrics.find(path).filter(|_| !empty_key);
        let route = found.unwrap_or(self.metrics.no_route());
        let method = request.method().clone();
        let unread = has_body(request.headers()).then_some(found.is_none());
        // Nothing but a comparison unless the log wants it.
        let span = debug_span!("request", request_id = ?id, %method, route = self.metrics.path(route));
        let metrics = Arc::clone(&self.metrics);
        let began = Instant::now();
        let inner = if empty_key { Inner::EmptyKey } else { Inner::Route(self.inner.call(request)) };
        Answering { inner, id: Some(id), route, method, unread, span, metrics, began }
    }
}

/// Whether a request bears a body, or may.
fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// A path with nothing where its key would be.
const EMPTY_KEY: &str = "/locks//";

/// Whether a path has nothing where its key would be. The router takes the empty segment of `/locks//acquire` for a key;
/// no key is empty, so there is no such route.
fn has_empty_key(path: &str) -> bool {
    path.starts_with("/locks//") || path.starts_with("/semaphores//")
}

/// Who answers a request.
#[derive(Debug)]
enum Inner<F> {
    Route(F),
    EmptyKey,
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Answering<F> {
    inner: Inner<F>,
    /// Until it is put on the answer.
    id: Option<HeaderValue>,
    route: RouteIndex,
    method: Method,
    /// Where there is a body: whether there is no route that would read it.
    unread: Option<bool>,
    span: Span,
    metrics: Arc<HttpMetrics>,
    began: Instant,
}

impl<F: Future<Output = Result<Response, Infallible>> + Unpin> Future for Answering<F> {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let entered = this.span.enter();
        // A future that panicked is not polled again, so nobody sees the state that it left behind.
        let polled = match &mut this.inner {
            Inner::Route(inner) => catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll(cx))),
            Inner::EmptyKey => Ok(Poll::Ready(Ok(Problem::no_route(EMPTY_KEY).into_response()))),
        };
        drop(entered);
        let response = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => response,
            Ok(Poll::Ready(Err(never))) => match never {},
            Err(panic) => panicked(&*panic),
        };
        Poll::Ready(Ok(this.finish(response)))
    }
}

/// Answers a panic. Its message was printed by the panic hook, and may hold a caller's data.
fn panicked(_: &(dyn Any + Send)) -> Response {
    Problem::internal_error().into_response()
}

impl<F> Answering<F> {
    /// Counts and logs an answer, and adds what every answer bears.
    fn finish(&mut self, mut response: Response) -> Response {
        let id = self.id.take().unwrap_or(HeaderValue::from_static("-"));
        let took = self.began.elapsed();
        self.metrics.answered(self.route, &self.method, response.status(), took);
        self.log(&response, &id, took.as_millis());
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        if self.unread.is_some_and(|no_route| no_route || response.status() == StatusCode::METHOD_NOT_ALLOWED)
        {
            // Nobody has read the body, and hyper will close the connection: a client that keeps connections has to know.
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        response
    }

    fn log(&self, response: &Response, id: &HeaderValue, duration_ms: u128) {
        let (request_id, method) = (id.to_str().unwrap_or_default(), &self.method);
        let (route, status) = (self.metrics.path(self.route), response.status().as_u16());
        match status {
            503 => {
                warn!(request_id, %method, route, status, duration_ms, "a request could not be served now");
            }
            500.. => error!(request_id, %method, route, status, duration_ms, "a request failed"),
            _ => debug!(request_id, %method, route, status, duration_ms, "answered"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    fn router() -> Boundary<Router> {
        let panics = || async { panic!("on purpose") as StatusCode };
        let waits_and_panics = || async {
            tokio::task::yield_now().await;
            panic!("on purpose") as StatusCode
        };
        let router = Router::new()
            .route("/fine", get(|| async { "fine" }))
            .route("/panics", get(panics))
            .route("/panics-later", get(waits_and_panics))
            .route("/locks/{key}/acquire", get(|| async { "a lock" }))
            .with_state(());
        let paths = ["/fine", "/panics", "/panics-later", "/locks/{key}/acquire"];
        Boundary::new(router, HttpMetrics::new(paths.into_iter()))
    }

    async fn answer(path: &str, id: Option<&'static str>) -> Response {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        if let Some(id) = id {
            request.headers_mut().insert(REQUEST_ID, HeaderValue::from_static(id));
        }
        router().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn every_answer_bears_an_id_and_is_not_stored() {
        for (path, status) in [
            ("/fine", 200),
            ("/none", 404),
            ("/locks//acquire", 404),
            ("/panics", 500),
            ("/panics-later", 500),
        ] {
            let response = answer(path, Some("mine")).await;
            assert_eq!(response.status(), status, "{path}");
            assert_eq!(response.headers()["x-request-id"], "mine");
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
        assert_eq!(answer("/fine", None).await.headers()["x-request-id"].len(), 36);
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_details() {
        let response = answer("/panics", None).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "/problems/internal-error");
        assert!(!body.to_string().contains("purpose"));
    }
}
