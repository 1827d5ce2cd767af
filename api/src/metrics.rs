//! What is counted of every request.
//!
//! Labels are routes, methods and statuses that we know, never anything that a caller could make up. The handles are kept,
//! because finding one by its labels costs more than counting.

use std::{sync::OnceLock, time::Duration};

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

/// Counts requests by method, route and status.
pub(crate) const REQUESTS_TOTAL: &str = "db_locks_http_requests_total";
/// How long requests took, by route, in seconds. Waiting for a lock is part of it.
pub(crate) const REQUEST_DURATION_SECONDS: &str = "db_locks_http_request_duration_seconds";

/// The route of requests that no route fits.
const NO_ROUTE: &str = "none";

/// The methods that are told apart; all others are `other`.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "other"];
/// The statuses that are told apart; all others are `other`.
const STATUSES: [&str; 14] =
    ["200", "201", "204", "308", "400", "404", "405", "409", "413", "415", "423", "500", "503", "other"];

/// The handles of all metrics of requests.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    /// The last one is of requests that no route fits.
    routes: Vec<RouteMetrics>,
    /// Finds the route of a path, as the router does.
    paths: matchit::Router<RouteIndex>,
}

#[derive(Debug)]
struct RouteMetrics {
    path: String,
    duration: OnceLock<Histogram>,
    requests: [[OnceLock<Counter>; STATUSES.len()]; METHODS.len()],
}

impl HttpMetrics {
    /// Metrics for routes, by their templates.
    ///
    /// # Panics
    ///
    /// If two templates fit the same paths: a router of them would have refused them.
    pub(crate) fn new<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        describe_counter!(REQUESTS_TOTAL, "HTTP requests by method, route and status");
        describe_histogram!(
            REQUEST_DURATION_SECONDS,
            "How long HTTP requests took, waiting for locks included"
        );
        let route = |path: &str| RouteMetrics {
            path: path.to_owned(),
            duration: OnceLock::new(),
            requests: Default::default(),
        };
        let mut routes: Vec<_> = paths.map(route).collect();
        let mut paths = matchit::Router::new();
        for (index, route) in routes.iter().enumerate() {
            paths.insert(&route.path, RouteIndex(index)).expect("no two routes fit the same paths");
        }
        routes.push(route(NO_ROUTE));
        Self { routes, paths }
    }

    /// Which route a path takes, if any.
    pub(crate) fn find(&self, path: &str) -> Option<RouteIndex> {
        self.paths.at(path).ok().map(|found| *found.value)
    }

    /// The route of requests that no route fits.
    pub(crate) fn no_route(&self) -> RouteIndex {
        RouteIndex(self.routes.len() - 1)
    }

    /// The template of a route.
    pub(crate) fn path(&self, route: RouteIndex) -> &str {
        &self.routes[route.0].path
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, route: RouteIndex, method: &Method, status: StatusCode, took: Duration) {
        let route = &self.routes[route.0];
        let method = position(&METHODS, method.as_str());
        let status = position(&STATUSES, status.as_str());
        let requests = route.requests[method][status].get_or_init(|| {
            let labels = [
                ("method", METHODS[method].to_owned()),
                ("route", route.path.clone()),
                ("status", STATUSES[status].to_owned()),
            ];
            counter!(REQUESTS_TOTAL, &labels)
        });
        requests.increment(1);
        let duration = route
            .duration
            .get_or_init(|| histogram!(REQUEST_DURATION_SECONDS, "route" => route.path.clone()));
        duration.record(took);
    }
}

/// A route, by its place in the list of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteIndex(usize);

/// The place of a name in a list whose last one stands for all others.
fn position(names: &[&str], name: &str) -> usize {
    names.iter().position(|known| *known == name).unwrap_or(names.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_routes_methods_and_statuses_share_labels() {
        let metrics = HttpMetrics::new(["/a", "/b"].into_iter());
        assert_eq!(metrics.find("/b").map(|route| metrics.path(route)), Some("/b"));
        assert_eq!(metrics.find("/c"), None);
        assert_eq!(metrics.path(metrics.no_route()), NO_ROUTE);
        assert_eq!(METHODS[position(&METHODS, "PURGE")], "other");
        assert_eq!(STATUSES[position(&STATUSES, "418")], "other");
    }
}
