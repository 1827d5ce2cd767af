//! Requests from pages of other sites, and the headers of our own pages.

use std::fmt::Write;

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, Database, Service, wire};

on_every_database![with_client:
    pages_of_other_sites_are_refused_and_change_nothing,
    other_hosts_are_refused,
    the_order_of_refusals_is_kept,
    pages_are_protected,
];

/// The status of a request with these headers and nothing else but `Host`.
async fn status(svc: &Client, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    wire::exchange(svc.port(), format!("{text}\r\n").as_bytes()).await.unwrap().status
}

async fn pages_of_other_sites_are_refused_and_change_nothing(svc: Client) {
    svc.put("/locks/there", json!({})).await.expect(201);
    let own = format!("http://127.0.0.1:{}", svc.port());
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        for (method, path) in
            [(Method::POST, "/locks/k/acquire"), (Method::DELETE, "/locks/there"), (Method::GET, "/locks")]
        {
            let answer = svc.send(svc.request(method, path).header(name, value)).await;
            answer.problem(403, "forbidden");
        }
    }
    let mine = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
    let mut request = svc.request(Method::POST, "/locks/mine/acquire");
    for (name, value) in mine {
        request = request.header(name, value);
    }
    svc.send(request).await.grant();
    let keys = svc.get("/locks").await.body["items"].to_string();
    assert!(keys.contains("there") && keys.contains("mine") && !keys.contains("\"k\""), "{keys}");
}

async fn other_hosts_are_refused(svc: Client) {
    for (headers, expected) in [
        (&[("Host", "localhost")][..], 200),
        (&[("Host", "127.0.0.1:1")], 200),
        (&[("Host", "[::1]:8080")], 200),
        (&[("Host", "rebind.evil.example")], 421),
        (&[("Host", "evil.example"), ("Origin", "http://evil.example")], 421),
        (&[], 400),
        (&[("Host", "localhost"), ("Host", "localhost")], 400),
        (&[("Host", "a b")], 400),
    ] {
        assert_eq!(status(&svc, "GET", "/health", headers).await, expected, "{headers:?}");
    }
    let old = wire::exchange(svc.port(), b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(old.status, 200, "HTTP/1.0 knew no Host");
}

async fn the_order_of_refusals_is_kept(svc: Client) {
    let (host, origin) = (("Host", "evil.example"), ("Origin", "http://evil.example"));
    let (own, large) = (("Host", "localhost"), ("Content-Length", "300000"));
    for (method, path, headers, expected) in [
        ("POST", "/none", &[host, origin][..], 404),
        ("POST", "/locks", &[host, origin], 421),
        ("POST", "/locks", &[own, origin], 405),
        ("POST", "/locks/k/acquire", &[own, origin, large], 403),
        ("POST", "/locks/k/acquire", &[own, large], 413),
    ] {
        assert_eq!(status(&svc, method, path, headers).await, expected, "{method} {path} {headers:?}");
    }
}

async fn pages_are_protected(svc: Client) {
    for page in ["/swagger-ui/", "/problems/not-granted"] {
        let answer = svc.get(page).await;
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{page}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{page}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{page}");
    }
    for path in ["/swagger-ui/", "/problems/not-granted", "/locks", "/none", "/health", "/metrics"] {
        assert_eq!(svc.get(path).await.header("x-content-type-options"), "nosniff", "{path}");
    }
}

/// Names are added by configuration.
#[tokio::test]
async fn further_hosts_are_configured() {
    let Some(database) = crate::support::Dialect::Sqlite.database().await else { return };
    let settings = [("DB_LOCKS_ALLOWED_HOSTS", "locks.example, other.example:8443")];
    let service = start(&database, &settings).await;
    let svc = service.client();
    for (host, expected) in [("locks.example", 200), ("other.example:8443", 200), ("other.example", 421)] {
        assert_eq!(status(&svc, "GET", "/health", &[("Host", host)]).await, expected, "{host}");
    }
    let behind_a_proxy = [("Host", "localhost"), ("Origin", "https://locks.example")];
    assert_eq!(status(&svc, "GET", "/health", &behind_a_proxy).await, 200);
}

async fn start(database: &Database, settings: &[(&str, &str)]) -> Service {
    Service::start_with(&database.url, settings).await
}
