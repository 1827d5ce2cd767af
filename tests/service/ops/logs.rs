//! The lines of the log at each level, and a log that nobody reads.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::Command,
    sync::mpsc,
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{Client, Dialect, SOON, Service};

/// Makes a lock granted, renewed, released and expired.
async fn live_through(svc: &Client) {
    let first = svc.acquire("the-key", json!({"owner": "first-owner"})).await.grant();
    svc.heartbeat("the-key", &first.version).await.grant();
    svc.release("the-key", &first.version).await.unheld(200);
    svc.acquire("the-key", json!({"owner": "second-owner", "lease_duration_ms": 20})).await.grant();
    svc.acquire("the-key", json!({"owner": "third-owner"})).await.grant();
}

/// Stops the service, and asserts that it has logged nothing between its start and its end.
async fn ends_with_its_start_and_its_end(service: &mut Service) {
    let log = service.log_at_end().await;
    let since_start = log.lines().skip_while(|line| !line.contains("listening")).skip(1);
    let lines: Vec<_> = since_start.filter(|line| !line.contains("stop")).collect();
    assert!(log.contains("listening") && lines.is_empty(), "{log}");
}

#[tokio::test]
async fn grants_releases_and_expiries_are_visible_at_debug() {
    let database = Dialect::Sqlite.database().await.unwrap();
    for filter in ["debug", "info,db_locks::grants=debug"] {
        let settings = [("DB_LOCKS_LOG", filter), ("DB_LOCKS_LOG_FORMAT", "json")];
        let mut service = Service::start_with(&database.url, &settings).await;
        let svc = service.client();
        live_through(&svc).await;
        let log = service.log_at_end().await;
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
        let mut service = Service::start_with(&database.url, &settings).await;
        service.client().acquire(format, json!({"owner": "a\u{9b}\u{202e}\u{7f}b"})).await.grant();
        let log = service.log_at_end().await;
        assert!(log.contains(logged) && !log.contains(['\u{7f}', '\u{9b}', '\u{202e}']), "{log}");
    }
}

#[tokio::test]
async fn at_info_nothing_is_logged_of_a_request() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start(&database.url).await;
    live_through(&service.client()).await;
    ends_with_its_start_and_its_end(&mut service).await;
}

/// Otherwise a client without a credential could fill the disk with lines of a library.
#[tokio::test]
async fn streams_that_a_client_resets_without_end_are_not_logged_each_time() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start(&database.url).await;
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
    ends_with_its_start_and_its_end(&mut service).await;
}

/// Guards requests against standard error that is a pipe whose reader is slow or has stopped, as a program that collects logs may.
#[tokio::test]
async fn a_reader_that_has_stopped_delays_no_request_and_gets_the_number_of_lost_lines_later() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("stderr");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Open for both, so that to open it waits for nobody.
    let reader = File::options().read(true).write(true).open(&fifo).unwrap();
    let settings = [("DB_LOCKS_LOG", "debug"), ("DB_LOCKS_AUDIT_LOG", "stderr")];
    let mut service = Service::start_into(&fifo, &database.url, &settings).await;
    let svc = service.client();
    let long = "\u{e0041}".repeat(250);
    for number in 0..400 {
        let key = format!("{long}{number}");
        let acquired = svc.acquire(&key, json!({"owner": long}));
        timeout(SOON, acquired).await.expect("a request waits for the reader").grant();
    }
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            send.send(line.unwrap()).unwrap();
        }
    });
    let until = |text| loop {
        let line = lines.recv_timeout(Duration::from_secs(20)).expect(text);
        assert!(!line.contains("{\"time\"") || line.starts_with('{') && line.ends_with('}'), "{line}");
        if line.contains(text) {
            break;
        }
    };
    until("lines of the log were lost");
    service.signal("TERM");
    until("stopped");
    assert!(service.end(SOON).await.success());
}
