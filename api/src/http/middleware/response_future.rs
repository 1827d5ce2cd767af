//! Answers a request: authenticates the caller, calls the handler, and catches a panic.

use std::{
    any::Any,
    convert::Infallible,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use db_locks_service::{access::Identity, audit::Origin};
use tower::Service;
use tracing::Span;

use super::{
    finish::Answering,
    shared::{RouteCheck, Shared},
    waiter::Waiter,
};
use crate::{
    auth::{CredentialCheck, CredentialLookup, RECHECK_AFTER},
    http::{
        OwnRoom,
        connection::{Connection, Unconfirmed},
    },
    problem::Problem,
};

/// The state of a request.
pub(super) enum Inner<S: Service<Request>> {
    /// The handler, and the caller that it works for, unless the route is open.
    Route(S::Future, Option<Arc<Identity>>),
    /// `None` once it was returned.
    Refused(Option<Problem>),
    CallerLookup(Box<CallerLookup<S>>),
    /// The handler answered a grant after a wait: check the credential again.
    CredentialRecheck(Box<CredentialRecheck>),
}

/// A grant whose credential is looked up again.
pub(super) struct CredentialRecheck {
    answer: Lookup,
    /// The caller when the request came.
    before: Arc<Identity>,
    /// Dropping it releases the grant.
    granted: Option<Response>,
}

/// Looks up the caller.
pub(super) type Lookup = Pin<Box<dyn Future<Output = Result<Arc<Identity>, Problem>> + Send>>;

/// A request whose caller is looked up.
pub(super) struct CallerLookup<S> {
    pub(super) answer: Lookup,
    /// `None` once it was returned.
    pub(super) request: Option<Request>,
    pub(super) connection: Arc<Connection>,
    pub(super) route_check: RouteCheck,
    pub(super) service: S,
}

/// Looks up the caller of a request from a client with this address.
pub(super) fn look_up(shared: Arc<Shared>, lookup: CredentialLookup, client: IpAddr) -> Lookup {
    Box::pin(async move {
        match &shared.authentication {
            Some(authentication) => authentication.look_up(lookup, Some(client)).await,
            None => Err(Problem::internal_error()),
        }
    })
}

/// Calls the handler if the caller may use the route.
pub(super) fn enter_as<S: Service<Request>>(
    service: &mut S,
    shared: &Shared,
    identity: Arc<Identity>,
    mut request: Request,
    route_check: &RouteCheck,
    origin: Option<&Arc<Origin>>,
) -> Inner<S> {
    if let Some(origin) = origin {
        origin.identify(Arc::clone(&identity.who));
    }
    if let Some(problem) = shared.refusal_of(&identity, route_check, request.method()) {
        return Inner::Refused(Some(problem));
    }
    if request.extensions().get::<OwnRoom>().is_some() {
        // The body may be long on its way. Then the credential is checked again.
        request.extensions_mut().insert(route_check.rule);
    }
    request.extensions_mut().insert(Arc::clone(&identity));
    Inner::Route(service.call(request), Some(identity))
}

/// A request that is being answered.
pub(super) struct ResponseFuture<S: Service<Request>> {
    pub(super) inner: Inner<S>,
    pub(super) answering: Answering,
    pub(super) span: Span,
    /// The origin of the request, if the audit log is on.
    pub(super) origin: Option<Arc<Origin>>,
    /// Checks the credential again before a grant.
    pub(super) waiter: Option<Waiter>,
}

impl<S> Future for ResponseFuture<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Unpin> + Unpin,
{
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Inner::CallerLookup(_) = this.inner {
            ready!(this.poll_lookup(cx));
        }
        if let Inner::CredentialRecheck(_) = this.inner {
            let response = ready!(this.poll_recheck(cx));
            return Poll::Ready(Ok(this.answering.finish(response)));
        }
        let response = ready!(this.poll_response(cx));
        match this.recheck_credential(response) {
            Ok(response) => Poll::Ready(Ok(this.answering.finish(response))),
            Err(recheck) => {
                this.inner = Inner::CredentialRecheck(recheck);
                self.poll(cx)
            }
        }
    }
}

impl<S> ResponseFuture<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Unpin>,
{
    /// Looks the caller up, and calls the handler if the caller may use the route.
    fn poll_lookup(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Inner::CallerLookup(lookup) = &mut self.inner else { return Poll::Ready(()) };
        let answer = ready!(lookup.answer.as_mut().poll(cx));
        let next = match (answer, lookup.request.take()) {
            (Ok(identity), Some(request)) => {
                let origin = self.origin.as_ref();
                lookup.connection.set_bearer(&identity);
                enter_as(
                    &mut lookup.service,
                    &self.answering.shared,
                    identity,
                    request,
                    &lookup.route_check,
                    origin,
                )
            }
            (Err(problem), _) => {
                self.answering.shared.refused(&lookup.connection, self.origin.as_ref(), &problem);
                Inner::Refused(Some(problem))
            }
            (Ok(_), None) => Inner::Refused(None),
        };
        if matches!(next, Inner::Refused(_)) {
            self.answering.body = self.answering.body.unread();
        }
        self.inner = next;
        Poll::Ready(())
    }

    /// Checks the credential of a grant again.
    fn poll_recheck(&mut self, cx: &mut Context<'_>) -> Poll<Response> {
        let Inner::CredentialRecheck(recheck) = &mut self.inner else { return Poll::Pending };
        let answer = ready!(recheck.answer.as_mut().poll(cx));
        let (before, granted) = (Arc::clone(&recheck.before), recheck.granted.take());
        Poll::Ready(match (answer, granted) {
            (Ok(now), Some(granted)) => self.grant_to(&before, &now, granted),
            (Err(problem), granted) => self.withhold(granted, problem),
            (Ok(_), None) => Problem::internal_error().into_response(),
        })
    }

    /// Polls the handler within the request's span.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Response> {
        let _entered = self.span.enter();
        // A future that panicked is not polled again, so its inconsistent state is not used.
        let polled = match &mut self.inner {
            Inner::Route(inner, _) => catch_unwind(AssertUnwindSafe(|| match &self.origin {
                Some(origin) => origin.enter(|| Pin::new(inner).poll(cx)),
                None => Pin::new(inner).poll(cx),
            })),
            Inner::Refused(problem) => {
                let problem = problem.take().unwrap_or_else(Problem::internal_error);
                return Poll::Ready(problem.into_response());
            }
            Inner::CallerLookup(_) | Inner::CredentialRecheck(_) => return Poll::Pending,
        };
        match polled {
            Ok(polled) => polled.map(|Ok(response)| response),
            Err(panic) => Poll::Ready(panicked(&*panic)),
        }
    }
}

/// Answers a panic. The panic hook has printed the message, which may hold a caller's data.
fn panicked(_: &(dyn Any + Send)) -> Response {
    Problem::internal_error().into_response()
}

impl<S: Service<Request>> ResponseFuture<S> {
    /// Withholds a grant after a wait until its credential is checked again. If the credential has ended, the answer is dropped,
    /// which releases the grant.
    fn recheck_credential(&self, response: Response) -> Result<Response, Box<CredentialRecheck>> {
        let (Some(waiter), Some(authentication)) = (&self.waiter, &self.answering.shared.authentication)
        else {
            return Ok(response);
        };
        let Inner::Route(_, Some(before)) = &self.inner else { return Ok(response) };
        if response.extensions().get::<Unconfirmed>().is_none()
            || self.answering.began.elapsed() < RECHECK_AFTER
        {
            return Ok(response);
        }
        match waiter.check(authentication, self.answering.path(), self.answering.rule()) {
            CredentialCheck::Open => Ok(response),
            CredentialCheck::Known(now) => Ok(self.grant_to(before, &now, response)),
            CredentialCheck::Refused(problem) => Ok(self.withhold(Some(response), problem)),
            CredentialCheck::LookUp(lookup) => {
                let answer = look_up(Arc::clone(&self.answering.shared), lookup, self.answering.network);
                let before = Arc::clone(before);
                Err(Box::new(CredentialRecheck { answer, before, granted: Some(response) }))
            }
        }
    }

    /// Passes a grant on, unless the rights of its caller have become less.
    fn grant_to(&self, before: &Identity, now: &Identity, granted: Response) -> Response {
        match self.waiter.as_ref().and_then(|waiter| waiter.refusal(before, now)) {
            Some(problem) => self.withhold(Some(granted), problem),
            None => granted,
        }
    }

    /// Answers a waiter that gets no grant after all, and gives the grant back.
    fn withhold(&self, granted: Option<Response>, problem: Problem) -> Response {
        if let Some(grant) = granted.and_then(|mut granted| granted.extensions_mut().remove::<Unconfirmed>())
        {
            grant.withhold();
        }
        self.authentication_failed(&problem);
        problem.into_response()
    }

    fn authentication_failed(&self, problem: &Problem) {
        self.answering.shared.authentication_failed(self.origin.as_ref(), problem);
    }
}
