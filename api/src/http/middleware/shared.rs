//! The state that all requests share: the metrics, and the checks before a handler.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderValue, Method},
};
use db_locks_service::{LockService, access::Identity, audit::Origin};

use super::{
    head::Head,
    host::AllowedHosts,
    large::LargeAnswers,
    site::{RequestSite, SiteRefusal},
    waiter::Waiter,
};
use crate::{
    auth::{AccessRule, Authentication, CredentialCheck},
    http::{
        ApiConfig, TrustedProxies,
        audit::HttpAudit,
        connection::{ClientBody, Connection},
        metrics::{HttpMetrics, RouteIndex},
        own_room::network_of,
    },
    problem::Problem,
};

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) metrics: HttpMetrics,
    pub(super) allowed_hosts: AllowedHosts,
    pub(super) authentication: Option<Arc<Authentication>>,
    pub(super) large_answers: LargeAnswers,
    /// The audit log, if it is on.
    pub(super) audit: Option<HttpAudit>,
    pub(super) trusted_proxies: TrustedProxies,
}

/// The checks that a request has to pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct RouteCheck {
    pub(super) route: RouteIndex,
    pub(super) rule: AccessRule,
    /// The reason why its origin is refused, if it is.
    pub(super) site_refusal: Option<SiteRefusal>,
}

impl Shared {
    /// The shared state for these metrics and this configuration.
    pub(crate) fn new(metrics: HttpMetrics, config: &ApiConfig, service: &LockService) -> Self {
        Self {
            metrics,
            allowed_hosts: config.allowed_hosts.clone(),
            authentication: config.authentication.clone(),
            large_answers: LargeAnswers::default(),
            audit: HttpAudit::new(service, &config.trusted_proxies),
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    /// The origin of a request, if the audit log is on.
    pub(super) fn origin(&self, request: &Request<ClientBody>, id: &HeaderValue) -> Option<Arc<Origin>> {
        let peer = request.body().connection().peer();
        self.audit.as_ref().map(|audit| audit.origin(peer, request.headers(), id))
    }

    /// The address of the client that a request comes from, behind trusted proxies, without what it can choose itself.
    pub(super) fn client_network(&self, request: &Request<ClientBody>) -> IpAddr {
        let peer = request.body().connection().peer();
        network_of(self.trusted_proxies.client_of(peer, request.headers()))
    }

    /// Notes that the credential of a request was refused, or could not be checked.
    pub(super) fn refused(&self, connection: &Connection, origin: Option<&Arc<Origin>>, problem: &Problem) {
        if problem.is_unauthorized() {
            connection.unset_bearer();
        } else {
            connection.settle();
        }
        self.authentication_failed(origin, problem);
    }

    /// Records a request that was refused because of its credential.
    pub(super) fn authentication_failed(&self, origin: Option<&Arc<Origin>>, problem: &Problem) {
        if let (Some(audit), Some(origin)) = (&self.audit, origin)
            && problem.is_unauthorized()
        {
            audit.authentication_failed(origin);
        }
    }

    /// Checks the caller's credential without I/O. Without authentication every route is open.
    pub(super) fn check_credential(
        &self,
        request: &Request<ClientBody>,
        route_check: &RouteCheck,
    ) -> CredentialCheck {
        match &self.authentication {
            Some(authentication) => {
                let certificate = request.body().connection().certificate().map(Arc::as_ref);
                let route = self.metrics.path(route_check.route);
                authentication.check(route, route_check.rule, request.headers(), certificate)
            }
            None => CredentialCheck::Open,
        }
    }

    /// The request as one that may wait for a lock, if it is one and authentication is on.
    pub(super) fn waiter(&self, request: &Request<ClientBody>, route: RouteIndex) -> Option<Waiter> {
        let path = self.metrics.path(route);
        let waits =
            self.authentication.is_some() && (path.ends_with("/acquire") || path == "/terraform/{key}");
        waits.then(|| Waiter::of(request)).flatten()
    }

    /// The reason why the caller may not use a route: the request's origin, the rate limit, or the caller's role. A wrong method
    /// (405) goes before the role. A request of a foreign page does not count: that page must not use up the caller's limit.
    pub(super) fn refusal_of(
        &self,
        identity: &Identity,
        route_check: &RouteCheck,
        method: &Method,
    ) -> Option<Problem> {
        if let Some(site_refusal) = route_check.site_refusal {
            return Some(site_refusal.into());
        }
        let too_many =
            self.authentication.as_ref()?.count(identity, self.metrics.path(route_check.route), method);
        too_many.or_else(|| match route_check.rule {
            AccessRule::Role(needed)
                if identity.role < needed && self.metrics.has_method(route_check.route, method) =>
            {
                Some(Problem::role_too_low(identity.role, needed))
            }
            _ => None,
        })
    }

    /// The reason why a request is refused because of its origin, if it is. The router's own refusals go after a foreign `Host` and
    /// before all others.
    pub(super) fn site_refusal(
        &self,
        request: &Request<ClientBody>,
        head: &Head<'_>,
        route: RouteIndex,
    ) -> Option<SiteRefusal> {
        let connection = request.body().connection();
        let only_host = head.only_host.filter(|_| request.uri().authority().is_none());
        if only_host.is_some_and(|host| connection.has_accepted(host)) {
            return None;
        }
        let place = RequestSite {
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
            (Err(site_refusal), _) => {
                let comes_first = site_refusal == SiteRefusal::Misdirected;
                (comes_first || self.metrics.has_method(route, request.method())).then_some(site_refusal)
            }
        }
    }
}
