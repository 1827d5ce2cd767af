//! Servers with unusual settings: the service sets everything that it needs on each session.

use crate::support::{Dialect, Service, server::OwnServer, sql};

/// Unusual settings of both MariaDB and MySQL. Each test adds those of one server.
const ODD: [&str; 13] = [
    "autocommit = 0",
    "completion_type = 'CHAIN'",
    "sql_safe_updates = 1",
    "sql_select_limit = 1",
    "sql_big_selects = 0",
    "max_join_size = 1",
    "foreign_key_checks = 0",
    "unique_checks = 0",
    "time_zone = '+09:30'",
    "wait_timeout = 2",
    "lock_wait_timeout = 1",
    "innodb_lock_wait_timeout = 50",
    "character_set_server = 'latin1'",
];

async fn odd_settings_change_nothing(dialect: Dialect, more: &[&str]) {
    let Some(server) = OwnServer::start(dialect).await else { return };
    for setting in ODD.iter().chain(more) {
        sql::execute(&server.database.url, &format!("SET GLOBAL {setting}; COMMIT")).await.unwrap();
    }
    outlasts_a_crash(&server).await;
}

/// Guards invariant 3: a server without autocommit keeps every answered change.
#[tokio::test]
async fn odd_settings_of_a_mariadb_change_nothing() {
    let more = [
        "sql_mode = 'ORACLE,ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
        "tx_isolation = 'SERIALIZABLE'",
        "max_statement_time = 0.5",
        "idle_transaction_timeout = 1",
    ];
    odd_settings_change_nothing(Dialect::MariaDb, &more).await;
}

/// The same.
#[tokio::test]
async fn odd_settings_of_a_mysql_change_nothing() {
    let more = [
        "sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'",
        "transaction_isolation = 'SERIALIZABLE'",
        "max_execution_time = 1",
        "sql_generate_invisible_primary_key = 1",
    ];
    odd_settings_change_nothing(Dialect::MySql, &more).await;
}

/// The same.
#[tokio::test]
async fn odd_settings_of_a_postgres_change_nothing() {
    let Some(server) = OwnServer::start(Dialect::Postgres).await else { return };
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "client_min_messages = 'error'",
        "datestyle = 'SQL, DMY'",
        "timezone = 'Asia/Kathmandu'",
        "plan_cache_mode = 'force_custom_plan'",
        "synchronous_commit = 'off'",
        "idle_session_timeout = '1s'",
        "idle_in_transaction_session_timeout = '1ms'",
        "default_transaction_deferrable = 'on'",
        "enable_indexscan = 'off'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = 'off'",
        "array_nulls = 'off'",
        "transform_null_equals = 'on'",
        "extra_float_digits = -15",
        // The last ones, since they count for the statements after them.
        "lock_timeout = '100ms'",
        "statement_timeout = '100ms'",
    ] {
        sql::execute(&server.database.url, &format!("ALTER ROLE locks SET {setting}")).await.unwrap();
    }
    outlasts_a_crash(&server).await;
}

async fn outlasts_a_crash(server: &OwnServer) {
    let url = &server.database.url;
    let mut service = Service::start(url).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    svc.queue_up("k", serde_json::json!({"wait_ms": 20_000}), 1).await.abort();
    let beat = svc.heartbeat("k", &held.version).await.grant();
    assert_eq!(beat.token, held.token);
    // A hand-over, many locks at once, and a list of them.
    let first = svc.hold("next").await;
    let waiting = svc.queue_up("next", serde_json::json!({"wait_ms": 20_000}), 1).await;
    svc.release("next", &first.version).await.unheld(200);
    waiting.await.unwrap().grant();
    let many = (0..40).map(|number| {
        let svc = svc.clone();
        tokio::spawn(async move { svc.hold(&format!("many-{number}")).await })
    });
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(svc.get("/locks").await.body["items"].as_array().map(Vec::len), Some(42));
    service.signal("KILL");
    let again = Service::start(url).await;
    assert_eq!(svc.at(again.port()).lock("k").await.grant().version, held.version);
}
