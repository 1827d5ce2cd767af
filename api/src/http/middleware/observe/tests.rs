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
    for (path, status) in
        [("/fine", 200), ("/none", 404), ("/locks//acquire", 404), ("/panics", 500), ("/panics-later", 500)]
    {
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
