//! The outermost middleware: it gives each request an id, checks it, and passes it to its handler.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{extract::Request, response::Response};
use db_locks_service::audit::Origin;
use tower::Service;
use tracing::debug_span;

use super::{
    head::Head,
    response_future::{BodyUse, CallerLookup, Inner, ResponseFuture, enter_as, look_up},
    shared::{RouteCheck, Shared},
    site::SiteRefusal,
};
use crate::{
    auth::{AccessRule, CredentialCheck},
    http::{connection::ClientBody, copy_of_uri, request_id},
    problem::Problem,
};

/// The middleware around the routes.
#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Observe<S> {
    /// Wraps the routes.
    pub(super) fn new(inner: S, shared: Shared) -> Self {
        Self { inner, shared: Arc::new(shared) }
    }
}

impl<S> Service<Request<ClientBody>> for Observe<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Unpin> + Clone + Unpin,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ResponseFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ClientBody>) -> Self::Future {
        let head = Head::of(request.headers());
        let path = request.uri().path();
        let empty_key = has_empty_key(path);
        let metrics = &self.shared.metrics;
        let found = metrics.find(path).filter(|_| !empty_key);
        let route = found.unwrap_or(metrics.no_route());
        let site_refusal = found.and_then(|route| self.shared.site_refusal(&request, &head, route));
        let body = match head.has_body {
            false => BodyUse::None,
            true if found.is_none() => BodyUse::Unread,
            true => BodyUse::ForTheRoute,
        };
        let network = request.body().connection().own_room().network();
        let id = request_id::of(head.request_id);
        let method = request.method().clone();
        // It costs only a comparison unless the log level includes it.
        let span = debug_span!("request", request_id = ?id, %method, route = metrics.path(route));
        let began = Instant::now();
        let origin = self.shared.origin(&request, &id);
        let waiter = self.shared.waiter(&request, route);
        let malformed = if request.headers().len() > MAX_HEADERS {
            Some(Problem::invalid_field("headers", TOO_MANY_HEADERS))
        } else if empty_key {
            Some(Problem::no_route(EMPTY_KEY))
        } else {
            None
        };
        let inner = if let Some(problem) = malformed {
            request.body().connection().settle();
            Inner::Refused(Some(problem))
        } else if self.shared.authentication.is_some()
            && found.is_some()
            && site_refusal != Some(SiteRefusal::Misdirected)
        {
            let rule = AccessRule::of(metrics.path(route), &method);
            self.enter(request, RouteCheck { route, rule, site_refusal }, origin.as_ref())
        } else {
            if self.shared.authentication.is_none() {
                request.body().connection().set_known();
            }
            self.pass(request, site_refusal)
        };
        let body = if matches!(inner, Inner::Refused(_)) { body.unread() } else { body };
        let shared = Arc::clone(&self.shared);
        let id = Some(id);
        ResponseFuture { inner, id, route, method, body, span, shared, network, began, origin, waiter }
    }
}

impl<S> Observe<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Unpin> + Clone + Unpin,
{
    /// Passes a request to its handler unless its origin is refused.
    fn pass(&mut self, request: Request<ClientBody>, site_refusal: Option<SiteRefusal>) -> Inner<S> {
        request.body().connection().settle();
        match site_refusal {
            Some(site_refusal) => Inner::Refused(Some(site_refusal.into())),
            None => Inner::Route(self.inner.call(ClientBody::for_handler(request)), None),
        }
    }

    /// Passes a request to its handler if the caller may use the route.
    fn enter(
        &mut self,
        request: Request<ClientBody>,
        route_check: RouteCheck,
        origin: Option<&Arc<Origin>>,
    ) -> Inner<S> {
        match self.shared.check_credential(&request, &route_check) {
            CredentialCheck::Open => self.pass(request, route_check.site_refusal),
            CredentialCheck::Known(identity) => {
                request.body().connection().set_bearer(&identity);
                let request = ClientBody::for_handler(request);
                enter_as(&mut self.inner, &self.shared, identity, request, &route_check, origin)
            }
            CredentialCheck::Refused(problem) => {
                self.shared.refused(request.body().connection(), origin, &problem);
                Inner::Refused(Some(problem))
            }
            CredentialCheck::LookUp(lookup) => {
                let client = self.shared.client_network(&request);
                let answer = look_up(Arc::clone(&self.shared), lookup, client);
                let connection = request.body().shared_connection();
                let mut request = ClientBody::for_handler(request);
                // It waits for the lookup.
                *request.uri_mut() = copy_of_uri(request.uri());
                let request = Some(request);
                Inner::CallerLookup(Box::new(CallerLookup {
                    answer,
                    request,
                    connection,
                    route_check,
                    service: self.inner.clone(),
                }))
            }
        }
    }
}

/// The limit of headers of a request, which is hyper's limit for HTTP/1.1. Over HTTP/2 hundreds of headers take some hundred bytes
/// on the wire, and many KiB of memory while the request lasts.
const MAX_HEADERS: usize = 100;
const TOO_MANY_HEADERS: &str = "must be at most 100";

/// A path with an empty key.
const EMPTY_KEY: &str = "/locks//";

/// Whether a path has an empty key. The router would match the empty segment of `/locks//acquire`, but keys are never empty,
/// so there is no such route.
fn has_empty_key(path: &str) -> bool {
    path.starts_with("/locks//") || path.starts_with("/semaphores//")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use axum::{
        Router,
        body::Body,
        http::{HeaderValue, Method, StatusCode},
        routing::get,
    };
    use tower::ServiceExt;

    use super::{
        super::{host::AllowedHosts, large::LargeAnswers},
        *,
    };
    use crate::http::{TrustedProxies, connection::Connection, metrics::HttpMetrics, request_id::REQUEST_ID};

    fn router() -> Observe<Router> {
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
        let metrics = HttpMetrics::new(paths.map(|path| (path, vec![Method::GET])));
        let shared = Shared {
            metrics,
            allowed_hosts: AllowedHosts::default(),
            authentication: None,
            large_answers: LargeAnswers::default(),
            audit: None,
            trusted_proxies: TrustedProxies::default(),
        };
        Observe::new(router, shared)
    }

    fn from(on_loopback: bool) -> ClientBody {
        ClientBody::new(Body::empty(), Connection::for_test(on_loopback))
    }

    async fn answer(path: &str, id: Option<&'static str>) -> Response {
        let mut request = Request::get(path).header("host", "x").body(from(false)).unwrap();
        if let Some(id) = id {
            request.headers_mut().insert(REQUEST_ID, HeaderValue::from_static(id));
        }
        router().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn every_answer_bears_an_id() {
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

    /// A request to the loopback address, from a page of another site and for another host.
    async fn refused(method: Method, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        router().oneshot(request.body(from(true)).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn several_errors_are_answered_in_a_fixed_order() {
        let (host, origin) = (("host", "evil.example"), ("origin", "https://evil.example"));
        let own = ("host", "localhost");
        assert_eq!(refused(Method::POST, "/none", &[host, origin]).await, 404);
        assert_eq!(refused(Method::POST, "/locks//acquire", &[host, origin]).await, 404);
        assert_eq!(refused(Method::POST, "/fine", &[host, origin]).await, 421);
        assert_eq!(refused(Method::POST, "/fine", &[own, origin]).await, 405);
        assert_eq!(refused(Method::HEAD, "/fine", &[own, origin]).await, 403);
        assert_eq!(refused(Method::GET, "/fine", &[origin]).await, 403);
        assert_eq!(refused(Method::GET, "/fine", &[]).await, 400);
        assert_eq!(refused(Method::GET, "/fine", &[own]).await, 200);
    }

    /// The turns of newcomers are for those whose credential may still be on its way.
    #[tokio::test]
    async fn the_client_of_an_answered_request_without_a_credential_is_no_newcomer() {
        for path in ["/fine", "/none", "/locks//acquire"] {
            let connection = Connection::for_test(true);
            assert!(connection.parties()[0].are_newcomers());
            let request = Request::get(path).body(ClientBody::new(Body::empty(), connection.clone()));
            router().oneshot(request.unwrap()).await.unwrap();
            assert!(!connection.parties()[0].are_newcomers(), "{path}");
        }
    }

    /// A connection remembers the `Host` that was accepted, and nothing else of a request.
    #[tokio::test]
    async fn each_request_of_a_connection_is_checked() {
        let connection = Connection::for_test(true);
        let own = ("host", "localhost");
        for (headers, expected) in [
            (&[own][..], 200),
            (&[own], 200),
            (&[("host", "evil.example")], 421),
            (&[own, own], 400),
            (&[own, ("origin", "https://evil.example")], 403),
            (&[own, ("sec-fetch-site", "cross-site")], 403),
            (&[], 400),
            (&[("host", "127.0.0.1")], 200),
            (&[own], 200),
        ] {
            let mut request = Request::get("/fine");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let body = ClientBody::new(Body::empty(), connection.clone());
            let response = router().oneshot(request.body(body).unwrap()).await.unwrap();
            assert_eq!(response.status(), expected, "{headers:?}");
        }
    }
}
