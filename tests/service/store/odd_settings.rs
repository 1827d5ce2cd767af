//! Servers whose own settings are odd: the service sets what it needs on each session.

use crate::support::{Dialect, Service, server::OwnServer, sql};

/// Guards invariant 3: a server that commits nothing by itself keeps what was answered all the same.
#[tokio::test]
async fn odd_settings_of_a_mariadb_change_nothing() {
    let Some(server) = OwnServer::start(Dialect::MariaDb).await else { return };
    for setting in [
        "autocommit = 0",
        "sql_mode = 'ORACLE,ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
        "tx_isolation = 'SERIALIZABLE'",
        "time_zone = '+09:30'",
        "wait_timeout = 2",
        "max_statement_time = 0.5",
        "character_set_server = 'latin1'",
    ] {
        sql::execute(&server.database.url, &format!("SET GLOBAL {setting}; COMMIT")).await.unwrap();
    }
    outlasts_a_crash(&server).await;
}

/// The same.
#[tokio::test]
async fn odd_settings_of_a_postgres_change_nothing() {
    let Some(server) = OwnServer::start(Dialect::Postgres).await else { return };
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "statement_timeout = '100ms'",
        "lock_timeout = '100ms'",
        "client_min_messages = 'error'",
        "datestyle = 'SQL, DMY'",
        "timezone = 'Asia/Kathmandu'",
        "plan_cache_mode = 'force_custom_plan'",
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
    service.signal("KILL");
    let again = Service::start(url).await;
    assert_eq!(svc.at(again.port()).lock("k").await.grant().version, held.version);
}
