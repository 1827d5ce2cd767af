//! The server is a former primary: it runs on but refuses writes. Later its address leads to another server.

use serde_json::json;

use super::proxy::Proxy;
use crate::support::{Answer, Database, Dialect, SOON, Service, eventually, server::OwnServer, sql};

/// The statements that make a server read-only and writable again.
fn switch(dialect: Dialect, read_only: bool) -> Vec<&'static str> {
    match (dialect, read_only) {
        (Dialect::Postgres, true) => {
            vec!["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"]
        }
        (Dialect::Postgres, false) => {
            vec!["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"]
        }
        (_, true) => vec!["SET GLOBAL read_only = 1"],
        (_, false) => vec!["SET GLOBAL read_only = 0"],
    }
}

async fn make_read_only(database: &Database, read_only: bool) {
    for statement in switch(database.dialect, read_only) {
        sql::execute(&database.url, statement).await.unwrap();
    }
}

fn says_read_only(answer: &Answer) {
    answer.unavailable();
    assert!(answer.body["detail"].as_str().unwrap().contains("read-only"), "{}", answer.text);
}

async fn a_read_only_server_is_left_for_the_one_that_its_address_leads_to(dialect: Dialect) {
    let Some(old) = OwnServer::start(dialect).await else { return };
    let Some(new) = OwnServer::start(dialect).await else { return };
    // Its schema.
    drop(Service::start(&new.database.url).await);
    let proxy = Proxy::before(&old.database).await;
    let service = Service::start(&old.database.through_port(proxy.port())).await;
    let svc = service.client();
    svc.hold("before").await;
    make_read_only(&old.database, true).await;
    let refused = async || {
        let ready = svc.get("/ready").await;
        (ready.status == 503).then_some(ready)
    };
    let ready = eventually("the service is not ready", SOON, refused).await;
    says_read_only(&ready);
    let answer = svc.acquire("k", json!({"wait_ms": 0})).await;
    says_read_only(&answer);
    proxy.lead_to(&new.database);
    let back = async || (svc.acquire("k", json!({"wait_ms": 0})).await.status == 200).then_some(());
    eventually("writes are carried out again", SOON, back).await;
    svc.get("/ready").await.expect(200);
    svc.lock("before").await.expect(404);
    service.until_logged("the database is back after").await;
}

#[tokio::test]
async fn postgres() {
    a_read_only_server_is_left_for_the_one_that_its_address_leads_to(Dialect::Postgres).await;
}

#[tokio::test]
async fn mariadb() {
    a_read_only_server_is_left_for_the_one_that_its_address_leads_to(Dialect::MariaDb).await;
}

#[tokio::test]
async fn mysql() {
    a_read_only_server_is_left_for_the_one_that_its_address_leads_to(Dialect::MySql).await;
}

/// A server that accepts writes again is used again. Guards invariant 3.
#[tokio::test]
async fn a_server_that_takes_writes_again_is_used_again() {
    for dialect in Dialect::SERVERS {
        let Some(server) = OwnServer::start(dialect).await else { continue };
        let service = Service::start(&server.database.url).await;
        let svc = service.client();
        let held = svc.hold("k").await;
        make_read_only(&server.database, true).await;
        let refused = async || (svc.get("/ready").await.status == 503).then_some(());
        eventually("the service is not ready", SOON, refused).await;
        make_read_only(&server.database, false).await;
        let ready = async || (svc.get("/ready").await.status == 200).then_some(());
        eventually("the service is ready again", SOON, ready).await;
        assert_eq!(svc.heartbeat("k", &held.version).await.grant().token, held.token);
    }
}
