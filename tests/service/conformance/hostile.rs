//! Hostile requests: random ones from dangerous pieces.
//!
//! `PROPTEST_CASES=100000 cargo test --test service hostile` tries more of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::support::{Dialect, Service, wire};

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "LOCK", "UNLOCK", "OPTIONS", "PATCH"];

/// The allowed statuses, without any 5xx.
const STATUSES: [u16; 17] =
    [200, 201, 204, 303, 307, 308, 400, 401, 403, 404, 405, 409, 413, 415, 421, 423, 431];

/// Path segments and values of parameters.
const NASTY: [&str; 26] = [
    "",
    ".",
    "..",
    "%2e%2e",
    "%2F",
    "%252F",
    "%00",
    "%C2%85",
    "%ff",
    "%c0%af",
    "%ed%a0%80",
    "%F0%9F%98%80",
    "%",
    "%2",
    "%zz",
    "a%20",
    "'%20OR%201=1--",
    "$(id)",
    "{key}",
    "*",
    "\\",
    ";a=b",
    "-1",
    "18446744073709551616",
    "1e400",
    "00000000-0000-0000-0000-000000000000",
];

/// Values in bodies.
const NASTY_JSON: [&str; 20] = [
    "null",
    "true",
    "0",
    "-1",
    "1",
    "1.5",
    "1e999",
    "-0",
    "9223372036854775807",
    "18446744073709551616",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"a\"",
    "\"\\u001F\"",
    "[]",
    "{}",
    "[[[[]]]]",
    "\"00000000-0000-0000-0000-000000000000\"",
    "nul",
];

const FIELDS: [&str; 18] = [
    "owner",
    "lease_duration_ms",
    "wait_ms",
    "additional_time_to_wait_for_lock_ms",
    "refresh_period_ms",
    "data",
    "replace_data",
    "delete_on_release",
    "acquire_only_if_already_exists",
    "reentrant",
    "version",
    "uses_semaphore",
    "guarded",
    "force",
    "reason",
    "max_size",
    "delete_data",
    "ID",
];

fn text() -> impl Strategy<Value = String> {
    let escaped =
        |bytes: Vec<u8>| bytes.iter().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    prop_oneof![
        prop::sample::select(&NASTY[..]).prop_map(str::to_owned),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(escaped),
        "[!-\"$->@-~]{0,60}",
        "a{200,300}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    let paths = [
        "/locks/KEY",
        "/locks/KEY/acquire",
        "/locks/KEY/heartbeat",
        "/locks/KEY/release",
        "/semaphores/KEY",
        "/semaphores/KEY/acquire",
        "/semaphores/KEY/permits",
        "/locks",
        "/semaphores",
        "/tokens",
        "/tokens/KEY",
        "/terraform/KEY",
        "/problems/KEY",
        "/KEY",
    ];
    let names = ["prefix", "owner", "locked", "limit", "cursor", "version", "lease_duration_ms", "x", ""];
    let parameter =
        (prop::sample::select(names.to_vec()), text()).prop_map(|(name, value)| format!("{name}={value}"));
    let query = prop::collection::vec(parameter, 0..4).prop_map(|query| query.join("&"));
    (prop::sample::select(paths.to_vec()), text(), query)
        .prop_map(|(path, key, query)| format!("{}?{query}", path.replace("KEY", &key)))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let member = (prop::sample::select(&FIELDS[..]), prop::sample::select(&NASTY_JSON[..]))
        .prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let object = prop::collection::vec(member, 0..5);
    prop_oneof![
        object.prop_map(|members| format!("{{{}}}", members.join(",")).into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff, Just(b'\t')];
    prop_oneof![
        prop::sample::select(&["acme", "Bearer x", "a, b", "application/json", "null", "*", "localhost"][..])
            .prop_map(|value| value.as_bytes().to_vec()),
        prop::collection::vec(byte, 0..80),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let names = [
        "X-Tenant",
        "Content-Type",
        "Authorization",
        "X-Request-Id",
        "Origin",
        "Sec-Fetch-Site",
        "X-Forwarded-For",
        "Accept",
        "Cookie",
        "X-HTTP-Method-Override",
    ];
    let headers = prop::collection::vec((prop::sample::select(names.to_vec()), header_value()), 0..4);
    (prop::sample::select(&METHODS[..]), target(), headers, body()).prop_map(
        |(method, target, headers, body)| {
            let mut request =
                format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
                    .into_bytes();
            for (name, value) in headers {
                request.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
            }
            request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
            request.extend(body);
            request
        },
    )
}

/// All bytes of the answer to a request, until the connection is closed.
pub(super) fn exchange(port: u16, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The service may answer and close before it has read everything.
    drop(stream.write_all(request));
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    bytes
}

fn check(port: u16, request: &[u8]) -> Result<(), TestCaseError> {
    let bytes = exchange(port, request);
    let Some(answer) = wire::parse(&bytes) else {
        return Err(TestCaseError::fail(format!("no answer: {:?}", String::from_utf8_lossy(&bytes))));
    };
    prop_assert!(STATUSES.contains(&answer.status), "{} {}", answer.status, answer.text);
    if answer.status >= 400 && answer.header("x-request-id").is_empty() {
        // Bytes that are refused before they are a request have no id.
        prop_assert!(matches!(answer.status, 400 | 431), "{} {}", answer.status, answer.text);
    } else if answer.status >= 400 && answer.header("content-type") == "application/problem+json" {
        prop_assert_eq!(&answer.body["status"], answer.status);
        let kind = answer.body["type"].as_str().unwrap_or_default();
        prop_assert!(kind.starts_with("/problems/"), "{}", answer.text);
    } else if answer.status >= 400 {
        // Terraform expects the lock information of the holder as the body.
        prop_assert!(matches!(answer.status, 409 | 423), "{} {}", answer.status, answer.text);
    }
    Ok(())
}

fn run<S: Strategy>(strategy: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    TestRunner::new(config).run(&strategy, check).unwrap_or_else(|failed| panic!("{failed}"));
}

#[tokio::test]
async fn every_request_is_answered_as_documented() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_WAIT_MS", "20")]).await;
    let port = service.port();
    let asked = tokio::task::spawn_blocking(move || run(request(), |request| check(port, &request)));
    asked.await.unwrap();
    service.client().get("/ready").await.expect(200);
    let log = service.log_at_end().await;
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}
