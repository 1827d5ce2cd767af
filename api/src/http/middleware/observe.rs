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
    finish::{Answering, BodyUse},
    head::Head,
    response_future::{CallerLookup, Inner, ResponseFuture, enter_as, look_up},
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
        let answering = Answering { id: Some(id), route, method, body, shared, network, began };
        ResponseFuture { inner, answering, span, origin, waiter }
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
mod tests;
