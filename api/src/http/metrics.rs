//! The metrics of requests and connections.
//!
//! Labels are known routes, methods and statuses, never text of a caller. The handles are kept, because looking one up by its
//! labels costs more than counting.

use std::{sync::OnceLock, time::Duration};

use axum::http::{Method, StatusCode};
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Counts requests by method, route and status.
pub(crate) const REQUESTS_TOTAL: &str = "db_locks_http_requests_total";
/// The duration of requests by route, in seconds. It includes waiting for a lock.
pub(crate) const REQUEST_DURATION_SECONDS: &str = "db_locks_http_request_duration_seconds";

/// The open client connections, and their limit.
const CONNECTIONS: &str = "db_locks_http_connections";
const CONNECTIONS_LIMIT: &str = "db_locks_http_connections_limit";
/// Counts connections that were refused because too many are open or begin.
const CONNECTIONS_REFUSED_TOTAL: &str = "db_locks_http_connections_refused_total";

/// The label of requests that match no route.
const NO_ROUTE: &str = "none";

/// The methods with a label of their own; all others are `other`.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "LOCK", "UNLOCK", "other"];
/// The statuses with a label of their own; all others are `other`.
const STATUSES: [&str; 21] = [
    "200", "201", "204", "307", "308", "400", "401", "403", "404", "405", "408", "409", "413", "415", "421",
    "423", "429", "431", "500", "503", "other",
];

/// The handles of all metrics of requests.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    /// The last entry is for requests that match no route.
    routes: Vec<RouteMetrics>,
    /// Finds the route of a path, like the router.
    paths: matchit::Router<RouteIndex>,
}

#[derive(Debug)]
struct RouteMetrics {
    path: String,
    methods: Vec<Method>,
    duration: Histogram,
    requests: [[OnceLock<Counter>; STATUSES.len()]; METHODS.len()],
}

impl HttpMetrics {
    /// Metrics for these routes, given by their templates and methods.
    ///
    /// # Panics
    ///
    /// If two templates match the same paths, which the router would have refused.
    pub(crate) fn new<'a>(routes: impl IntoIterator<Item = (&'a str, Vec<Method>)>) -> Self {
        crate::auth::register_metrics();
        describe_counter!(REQUESTS_TOTAL, "HTTP requests by method, route and status");
        describe_histogram!(
            REQUEST_DURATION_SECONDS,
            "How long HTTP requests took, waiting for locks included"
        );
        let mut routes: Vec<_> =
            routes.into_iter().map(|(path, methods)| RouteMetrics::new(path, methods)).collect();
        let mut paths = matchit::Router::new();
        for (index, route) in routes.iter().enumerate() {
            paths.insert(&route.path, RouteIndex(index)).expect("no two routes fit the same paths");
        }
        routes.push(RouteMetrics::new(NO_ROUTE, Vec::new()));
        Self { routes, paths }
    }

    /// Registers the counters for the documented answers of an operation, so that they exist before the first answer.
    pub(crate) fn register<'s>(&self, path: &str, method: &str, statuses: impl Iterator<Item = &'s str>) {
        let Some(route) = self.routes.iter().find(|route| route.path == path) else { return };
        for status in statuses {
            route.requests(position(&METHODS, method), position(&STATUSES, status));
        }
    }

    /// The route of a path, if there is one.
    pub(crate) fn find(&self, path: &str) -> Option<RouteIndex> {
        self.paths.at(path).ok().map(|found| *found.value)
    }

    /// The label of requests that match no route.
    pub(crate) fn no_route(&self) -> RouteIndex {
        RouteIndex(self.routes.len() - 1)
    }

    /// Whether a route has a method. `HEAD` works on every route with `GET`.
    pub(crate) fn has_method(&self, route: RouteIndex, method: &Method) -> bool {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.routes[route.0].methods.contains(method)
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
        route.requests(method, status).increment(1);
        route.duration.record(took);
    }
}

impl RouteMetrics {
    fn new(path: &str, methods: Vec<Method>) -> Self {
        Self {
            path: path.to_owned(),
            methods,
            duration: histogram!(REQUEST_DURATION_SECONDS, "route" => path.to_owned()),
            requests: Default::default(),
        }
    }

    /// The index of the counter for a method and a status.
    fn requests(&self, method: usize, status: usize) -> &Counter {
        self.requests[method][status].get_or_init(|| {
            let labels = [
                ("method", METHODS[method].to_owned()),
                ("route", self.path.clone()),
                ("status", STATUSES[status].to_owned()),
            ];
            counter!(REQUESTS_TOTAL, &labels)
        })
    }
}

/// Counts the connections of clients.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionMetrics {
    open: Gauge,
    refused: Counter,
}

impl ConnectionMetrics {
    /// Describes and registers the metrics. `limit` is the largest number of connections at a time.
    pub(crate) fn new(limit: usize) -> Self {
        describe_gauge!(CONNECTIONS, "Open connections of clients");
        describe_gauge!(CONNECTIONS_LIMIT, "The most connections of clients");
        describe_counter!(
            CONNECTIONS_REFUSED_TOTAL,
            "Connections refused because too many are open or begin"
        );
        #[expect(clippy::cast_precision_loss, reason = "a gauge of at most some hundred thousand")]
        gauge!(CONNECTIONS_LIMIT).set(limit as f64);
        Self { open: gauge!(CONNECTIONS), refused: counter!(CONNECTIONS_REFUSED_TOTAL) }
    }

    /// Counts a refused connection.
    pub(crate) fn refused(&self) {
        self.refused.increment(1);
    }

    /// Counts an open connection until the returned value is dropped.
    pub(crate) fn opened(&self) -> OpenConnection {
        self.open.increment(1.0);
        OpenConnection(self.open.clone())
    }
}

/// One open connection.
#[must_use = "it is counted until it is dropped"]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A route, as an index into the list of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteIndex(usize);

/// The index of a name in a list whose last entry is for all other names.
fn position(names: &[&str], name: &str) -> usize {
    names.iter().position(|known| *known == name).unwrap_or(names.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_routes_methods_and_statuses_share_labels() {
        let metrics = HttpMetrics::new(["/a", "/b"].map(|path| (path, vec![Method::GET])));
        assert_eq!(metrics.find("/b").map(|route| metrics.path(route)), Some("/b"));
        assert_eq!(metrics.find("/c"), None);
        assert_eq!(metrics.path(metrics.no_route()), NO_ROUTE);
        assert_eq!(METHODS[position(&METHODS, "PURGE")], "other");
        assert_eq!(STATUSES[position(&STATUSES, "418")], "other");
    }
}
