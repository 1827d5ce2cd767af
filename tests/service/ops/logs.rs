//! The lines of the log at each level.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, Dialect, Service};

/// Makes a lock granted, renewed, released and expired.
async fn live_through(svc: &Client) {
    let first = svc.acquire("the-key", json!({"owner": "first-owner"})).await.grant();
    svc.heartbeat("the-key", &first.version).await.grant();
    svc.release("the-key", &first.version).await.unheld(200);
    svc.acquire("the-key", json!({"owner": "second-owner", "lease_duration_ms": 20})).await.grant();
    svc.acquire("the-key", json!({"owner": "third-owner"})).await.grant();
}

#[tokio::test]
async fn grants_releases_and_expiries_are_visible_at_debug() {
    let database = Dialect::Sqlite.database().await.unwrap();
    for filter in ["debug", "info,db_locks::grants=debug"] {
        let settings = [("DB_LOCKS_LOG", filter), ("DB_LOCKS_LOG_FORMAT", "json")];
        let service = Service::start_with(&database.url, &settings).await;
        let svc = service.client();
        live_through(&svc).await;
        let log = service.log();
        for (message, owner) in [
            ("granted", "first-owner"),
            ("renewed", "first-owner"),
            ("released", "first-owner"),
            ("granted", "second-owner"),
            ("expired", "second-owner"),
            ("granted", "third-owner"),
        ] {
            let is_logged = log
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
                .any(|entry| {
                    entry["message"] == message
                        && entry["owner"] == owner
                        && entry["key"] == "the-key"
                        && entry["tenant"] == svc.tenant()
                        && entry["fencing_token"].is_i64()
                });
            assert!(is_logged, "{message} {owner} with {filter} in:\n{log}");
        }
    }
}

/// An owner cannot control the terminal of the person who reads the log.
#[tokio::test]
async fn text_of_others_is_logged_escaped() {
    let database = Dialect::Sqlite.database().await.unwrap();
    for (format, logged) in [("json", "a\\u009b\\u202e\\u007fb"), ("text", "a\\u{9b}\\u{202e}\\u{7f}b")] {
        let settings = [("DB_LOCKS_LOG", "debug"), ("DB_LOCKS_LOG_FORMAT", format)];
        let service = Service::start_with(&database.url, &settings).await;
        service.client().acquire(format, json!({"owner": "a\u{9b}\u{202e}\u{7f}b"})).await.grant();
        let log = service.log();
        assert!(log.contains(logged) && !log.contains(['\u{7f}', '\u{9b}', '\u{202e}']), "{log}");
    }
}

#[tokio::test]
async fn at_info_nothing_is_logged_of_a_request() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let before = service.log();
    live_through(&service.client()).await;
    assert_eq!(service.log(), before);
}

/// Otherwise a client without a credential could fill the disk with lines of a library.
#[tokio::test]
async fn streams_that_a_client_resets_without_end_are_not_logged_each_time() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let before = service.log();
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1..200_u32).step_by(2) {
        // `GET /` by the static table, and RST_STREAM.
        flood.extend([0, 0, 3, 1, 5]);
        flood.extend(stream.to_be_bytes());
        flood.extend([0x82, 0x84, 0x86, 0, 0, 4, 3, 0]);
        flood.extend(stream.to_be_bytes());
        flood.extend([0, 0, 0, 8]);
    }
    let mut client = tokio::net::TcpStream::connect(("127.0.0.1", service.port())).await.unwrap();
    client.write_all(&flood).await.unwrap();
    // The server closes the connection.
    let _ = client.read_to_end(&mut Vec::new()).await;
    assert_eq!(service.log(), before);
}
