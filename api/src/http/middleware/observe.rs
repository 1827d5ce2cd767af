//! The id of every request, its metrics, its line in the log, what becomes of a panic, and who may ask at all.

use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use db_locks_service::{LockService, LogLimit, access::Identity, audit::Origin};
use tower::Service;
use tracing::{Span, debug, debug_span, error, warn};

use super::{
    head::Head,
    large::LargeAnswers,
    site::{AllowedHosts, Misplaced, Place},
};
use crate::{
    auth::{Answer, Authentication, Needs, Question},
    http::{
        ApiConfig,
        connection::ClientBody,
        metrics::{HttpMetrics, RouteIndex},
        request_id::{self, REQUEST_ID},
        trail::Trail,
    },
    problem::Problem,
};

/// After so long a credential is checked again before its acquire is granted.
const CHECK_AGAIN_AFTER: Duration = Duration::from_secs(1);

const CLOSE: HeaderValue = HeaderValue::from_static("close");

static UNAVAILABLE: LogLimit = LogLimit::new();
static FAILED: LogLimit = LogLimit::new();

/// Routes, and what is known of each of their requests.
#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    metrics: HttpMetrics,
    allowed_hosts: AllowedHosts,
    authentication: Option<Arc<Authentication>>,
    large_answers: LargeAnswers,
    /// The audit trail, if it is on.
    trail: Option<Trail>,
}

impl<S> Observe<S> {
    /// Surrounds routes.
    pub(super) fn new(inner: S, shared: Shared) -> Self {
        Self { inner, shared: Arc::new(shared) }
    }
}

impl Shared {
    /// Counts in these metrics, and lets in whom the configuration says.
    pub(crate) fn new(metrics: HttpMetrics, config: &ApiConfig, service: &LockService) -> Self {
        Self {
            metrics,
            allowed_hosts: config.allowed_hosts.clone(),
            authentication: config.authentication.clone(),
            large_answers: LargeAnswers::default(),
            trail: Trail::new(service, &config.trusted_proxies),
        }
    }

    /// Where a request comes from, if there is an audit trail.
    fn origin(&self, request: &Request<ClientBody>, id: &HeaderValue) -> Option<Arc<Origin>> {
        let peer = request.body().connection().peer();
        self.trail.as_ref().map(|trail| trail.origin(peer, request.headers(), id))
    }

    /// Notes that a request was refused for want of a good credential.
    fn authentication_failed(&self, origin: Option<&Arc<Origin>>, problem: &Problem) {
        if let (Some(trail), Some(origin)) = (&self.trail, origin)
            && problem.is_unauthorized()
        {
            trail.authentication_failed(origin);
        }
    }

    /// What is known at once of who asks; where authentication is off, every route is open.
    fn who_asks(&self, request: &Request<ClientBody>, gate: &Gate) -> Answer {
        match &self.authentication {
            Some(authentication) => {
                let certificate = request.body().connection().certificate();
                let route = self.metrics.path(gate.route);
                authentication.check(route, gate.needs, request.headers(), certificate)
            }
            None => Answer::Open,
        }
    }

    /// The credential of a request that may wait for a lock, where authentication is on: it is checked again before a grant.
    fn credential_of_waiter(&self, request: &Request<ClientBody>, route: RouteIndex) -> Option<HeaderValue> {
        let waits = self.authentication.is_some() && self.metrics.path(route).ends_with("/acquire");
        request.headers().get(header::AUTHORIZATION).filter(|_| waits).cloned()
    }

    /// Why this one may not use a route: its role, or what is wrong with where the request comes from, comes after 405. What is
    /// refused for that does not count against its limit.
    fn refusal_of(&self, identity: &Identity, gate: &Gate, method: &Method) -> Option<Problem> {
        if let Some(misplaced) = gate.misplaced {
            return Some(misplaced.into());
        }
        match gate.needs {
            Needs::Role(needed) if identity.role < needed && self.metrics.has_method(gate.route, method) => {
                Some(Problem::role_too_low(identity.role, needed))
            }
            _ => self.authentication.as_ref()?.count(identity, self.metrics.path(gate.route), method),
        }
    }

    /// Why a request to a route is refused before its handler sees it, if it is. What the router refuses by itself comes
    /// after a foreign `Host` and before everything else.
    fn refusal(
        &self,
        request: &Request<ClientBody>,
        head: &Head<'_>,
        route: RouteIndex,
    ) -> Option<Misplaced> {
        let connection = request.body().connection();
        let only_host = head.only_host.filter(|_| request.uri().authority().is_none());
        if only_host.is_some_and(|host| connection.has_accepted(host)) {
            return None;
        }
        let place = Place {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            checks_host: connection.is_on_loopback() && self.authentication.is_none(),
        };
        match (place.check(&self.allowed_hosts), only_host) {
            (Ok(()), None) => None,
            (Ok(()), Some(host)) => {
                connection.accept_host(host);
                None
            }
            (Err(misplaced), _) => {
                let comes_first = misplaced == Misplaced::Misdirected;
                (comes_first || self.metrics.has_method(route, request.method())).then_some(misplaced)
            }
        }
    }
}

impl<S> Service<Request<ClientBody>> for Observe<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Unpin> + Clone + Unpin,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S>;

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
        let refusal = found.and_then(|route| self.shared.refusal(&request, &head, route));
        let body = match head.has_body {
            false => RequestBody::None,
            true if found.is_none() => RequestBody::Unread,
            true => RequestBody::ForTheRoute,
        };
        let id = request_id::of(head.request_id);
        let method = request.method().clone();
        // Nothing but a comparison unless the log wants it.
        let span = debug_span!("request", request_id = ?id, %method, route = metrics.path(route));
        let began = Instant::now();
        let origin = self.shared.origin(&request, &id);
        let credential = self.shared.credential_of_waiter(&request, route);
        let inner = if empty_key {
            Inner::Refused(Some(Problem::no_route(EMPTY_KEY)))
        } else if self.shared.authentication.is_some()
            && found.is_some()
            && refusal != Some(Misplaced::Misdirected)
        {
            let needs = Needs::of(metrics.path(route), &method);
            self.enter(request, Gate { route, needs, misplaced: refusal }, origin.as_ref())
        } else {
            self.pass(request, refusal)
        };
        let body = if matches!(inner, Inner::Refused(_)) { body.unread() } else { body };
        let shared = Arc::clone(&self.shared);
        Answering { inner, id: Some(id), route, method, body, span, shared, began, origin, credential }
    }
}

impl<S> Observe<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Unpin> + Clone + Unpin,
{
    /// Lets a request in if nothing is wrong with where it comes from.
    fn pass(&mut self, request: Request<ClientBody>, misplaced: Option<Misplaced>) -> Inner<S> {
        match misplaced {
            Some(misplaced) => Inner::Refused(Some(misplaced.into())),
            None => Inner::Route(self.inner.call(request.map(ClientBody::into_body))),
        }
    }

    /// Lets a request in if the one who asks may use the route.
    fn enter(&mut self, request: Request<ClientBody>, gate: Gate, origin: Option<&Arc<Origin>>) -> Inner<S> {
        match self.shared.who_asks(&request, &gate) {
            Answer::Open => self.pass(request, gate.misplaced),
            Answer::Known(identity) => {
                let request = request.map(ClientBody::into_body);
                enter_as(&mut self.inner, &self.shared, identity, request, &gate, origin)
            }
            Answer::Refused(problem) => {
                self.shared.authentication_failed(origin, &problem);
                Inner::Refused(Some(problem))
            }
            Answer::Ask(question) => {
                let answer = look_up(Arc::clone(&self.shared), question);
                let request = Some(request.map(ClientBody::into_body));
                Inner::Asking(Box::new(Asking { answer, request, gate, service: self.inner.clone() }))
            }
        }
    }
}

fn look_up(shared: Arc<Shared>, question: Question) -> Lookup {
    Box::pin(async move {
        match &shared.authentication {
            Some(authentication) => authentication.ask(question).await,
            None => Err(Problem::internal_error()),
        }
    })
}

/// Lets a request in if this one may use the route.
fn enter_as<S: Service<Request>>(
    service: &mut S,
    shared: &Shared,
    identity: Arc<Identity>,
    mut request: Request,
    gate: &Gate,
    origin: Option<&Arc<Origin>>,
) -> Inner<S> {
    if let Some(origin) = origin {
        origin.identify(Arc::clone(&identity.who));
    }
    if let Some(problem) = shared.refusal_of(&identity, gate, request.method()) {
        return Inner::Refused(Some(problem));
    }
    request.extensions_mut().insert(identity);
    Inner::Route(service.call(request))
}

/// What a request has to pass.
#[derive(Debug, Clone, Copy)]
struct Gate {
    route: RouteIndex,
    needs: Needs,
    /// What is wrong with where it comes from.
    misplaced: Option<Misplaced>,
}

/// Finds out who asks.
type Lookup = Pin<Box<dyn Future<Output = Result<Arc<Identity>, Problem>> + Send>>;

/// A request of somebody who has to be looked up.
struct Asking<S> {
    answer: Lookup,
    /// Until it is answered.
    request: Option<Request>,
    gate: Gate,
    service: S,
}

/// What becomes of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestBody {
    /// There is none.
    None,
    /// No handler reads it.
    Unread,
    /// A handler reads it, unless the route has no such method.
    ForTheRoute,
}

impl RequestBody {
    /// No handler is called.
    fn unread(self) -> Self {
        if self == Self::None { Self::None } else { Self::Unread }
    }
}

/// A path with nothing where its key would be.
const EMPTY_KEY: &str = "/locks//";

/// Whether a path has nothing where its key would be. The router takes the empty segment of `/locks//acquire` for a key;
/// no key is empty, so there is no such route.
fn has_empty_key(path: &str) -> bool {
    path.starts_with("/locks//") || path.starts_with("/semaphores//")
}

/// Who answers a request.
enum Inner<S: Service<Request>> {
    Route(S::Future),
    /// Until it is answered.
    Refused(Option<Problem>),
    Asking(Box<Asking<S>>),
    /// A grant was waited for.
    CheckingAgain(Box<CheckingAgain>),
}

/// A grant for somebody whose credential has to be looked up again.
struct CheckingAgain {
    answer: Lookup,
    /// Dropped, it gives the grant back.
    granted: Option<Response>,
}

/// A request that is being answered.
pub(super) struct Answering<S: Service<Request>> {
    inner: Inner<S>,
    /// Until it is put on the answer.
    id: Option<HeaderValue>,
    route: RouteIndex,
    method: Method,
    body: RequestBody,
    span: Span,
    shared: Arc<Shared>,
    began: Instant,
    /// Where it comes from, if there is an audit trail.
    origin: Option<Arc<Origin>>,
    /// The credential that is checked again before a grant.
    credential: Option<HeaderValue>,
}

impl<S> Future for Answering<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Unpin> + Unpin,
{
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Inner::Asking(asking) = &mut this.inner {
            let Poll::Ready(answer) = asking.answer.as_mut().poll(cx) else { return Poll::Pending };
            let next = match (answer, asking.request.take()) {
                (Ok(identity), Some(request)) => {
                    let origin = this.origin.as_ref();
                    enter_as(&mut asking.service, &this.shared, identity, request, &asking.gate, origin)
                }
                (Err(problem), _) => {
                    this.shared.authentication_failed(this.origin.as_ref(), &problem);
                    Inner::Refused(Some(problem))
                }
                (Ok(_), None) => Inner::Refused(None),
            };
            if matches!(next, Inner::Refused(_)) {
                this.body = this.body.unread();
            }
            this.inner = next;
        }
        if let Inner::CheckingAgain(checking) = &mut this.inner {
            let Poll::Ready(answer) = checking.answer.as_mut().poll(cx) else { return Poll::Pending };
            let granted = checking.granted.take();
            let response = match answer {
                Ok(_) => granted.unwrap_or_else(|| Problem::internal_error().into_response()),
                Err(problem) => {
                    this.authentication_failed(&problem);
                    problem.into_response()
                }
            };
            return Poll::Ready(Ok(this.finish(response)));
        }
        let entered = this.span.enter();
        // A future that panicked is not polled again, so nobody sees the state that it left behind.
        let polled = match &mut this.inner {
            Inner::Route(inner) => catch_unwind(AssertUnwindSafe(|| match &this.origin {
                Some(origin) => origin.enter(|| Pin::new(inner).poll(cx)),
                None => Pin::new(inner).poll(cx),
            })),
            Inner::Refused(problem) => {
                let problem = problem.take().unwrap_or_else(Problem::internal_error);
                Ok(Poll::Ready(Ok(problem.into_response())))
            }
            Inner::Asking(_) | Inner::CheckingAgain(_) => return Poll::Pending,
        };
        drop(entered);
        let response = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => response,
            Ok(Poll::Ready(Err(never))) => match never {},
            Err(panic) => panicked(&*panic),
        };
        match this.check_again(response) {
            Ok(response) => Poll::Ready(Ok(this.finish(response))),
            Err(checking) => {
                this.inner = Inner::CheckingAgain(checking);
                self.poll(cx)
            }
        }
    }
}

/// Answers a panic. Its message was printed by the panic hook, and may hold a caller's data.
fn panicked(_: &(dyn Any + Send)) -> Response {
    Problem::internal_error().into_response()
}

impl<S: Service<Request>> Answering<S> {
    /// Has a grant that was waited for go to nobody whose credential has ended meanwhile: its answer is dropped, which gives the
    /// grant back.
    fn check_again(&self, response: Response) -> Result<Response, Box<CheckingAgain>> {
        let waited = response.status() == StatusCode::OK && self.began.elapsed() >= CHECK_AGAIN_AFTER;
        let (Some(credential), Some(authentication)) = (&self.credential, &self.shared.authentication) else {
            return Ok(response);
        };
        if !waited {
            return Ok(response);
        }
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, credential.clone())]);
        let path = self.shared.metrics.path(self.route);
        match authentication.check(path, Needs::of(path, &self.method), &headers, None) {
            Answer::Open | Answer::Known(_) => Ok(response),
            Answer::Refused(problem) => {
                self.authentication_failed(&problem);
                Ok(problem.into_response())
            }
            Answer::Ask(question) => {
                let answer = look_up(Arc::clone(&self.shared), question);
                Err(Box::new(CheckingAgain { answer, granted: Some(response) }))
            }
        }
    }

    fn authentication_failed(&self, problem: &Problem) {
        self.shared.authentication_failed(self.origin.as_ref(), problem);
    }

    /// Counts and logs an answer, and adds what every answer bears.
    fn finish(&mut self, response: Response) -> Response {
        let mut response = self.shared.large_answers.admit(response);
        let id = self.id.take().unwrap_or(HeaderValue::from_static("-"));
        let took = self.began.elapsed();
        self.shared.metrics.answered(self.route, &self.method, response.status(), took);
        self.log(&response, &id, took.as_millis());
        if self.is_left_unread(response.status()) {
            // hyper will close the connection: a client that keeps connections has to know.
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    /// Whether a part of the request's body may not have been read.
    fn is_left_unread(&self, status: StatusCode) -> bool {
        match self.body {
            RequestBody::None => false,
            RequestBody::Unread => true,
            RequestBody::ForTheRoute => matches!(
                status,
                StatusCode::FORBIDDEN
                    | StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::PAYLOAD_TOO_LARGE
            ),
        }
    }

    fn log(&self, response: &Response, id: &HeaderValue, duration_ms: u128) {
        let (request_id, method) = (id.to_str().unwrap_or_default(), &self.method);
        let (route, status) = (self.shared.metrics.path(self.route), response.status().as_u16());
        // Under an outage all requests have the same cause.
        if status == 503
            && let Some(left_out) = UNAVAILABLE.pass()
        {
            warn!(request_id, %method, route, status, duration_ms, left_out, "a request could not be served now");
        } else if status >= 500
            && status != 503
            && let Some(left_out) = FAILED.pass()
        {
            error!(request_id, %method, route, status, duration_ms, left_out, "a request failed");
        } else {
            debug!(request_id, %method, route, status, duration_ms, "answered");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;
    use crate::http::connection::Connection;

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
            trail: None,
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
    async fn what_is_wrong_in_several_ways_is_answered_in_one_order() {
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
