//! A failover that loses the last commits, because the promoted standby never received them. No token is seen twice.

use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

use crate::support::{Client, Dialect, SOON, Service, eventually, server::OwnServer, sql};

/// The tokens that are granted for a lock, for a new lock, and for a permit.
async fn tokens(svc: &Client, rounds: usize) -> Vec<(String, i64)> {
    let mut seen = Vec::new();
    for round in 0..rounds {
        for path in ["/locks/k", "/semaphores/s", &format!("/locks/new-{round}")] {
            let body = json!({"lease_duration_ms": 60_000, "wait_ms": 20_000});
            let grant = svc.post(&format!("{path}/acquire"), body).await.grant();
            svc.post(&format!("{path}/release"), json!({"version": grant.version})).await.unheld(200);
            seen.push((path.to_owned(), grant.token));
        }
    }
    seen
}

/// The highest token that the standby has.
const HAS: &str = "SELECT coalesce(max(token), 0) FROM locks";

/// Waits until the standby has all grants so far.
async fn until_received(standby: &OwnServer, token: i64) {
    let has = async || {
        let has = sql::number(&standby.database.url, HAS).await.unwrap_or_default();
        (has >= token).then_some(())
    };
    eventually("the standby has what was granted", SOON, has).await;
}

/// Grants once with the standby and more without it, has the standby take over, and grants there.
async fn no_token_is_seen_twice(
    mut primary: OwnServer,
    mut standby: OwnServer,
    cut_off: impl AsyncFnOnce(&mut OwnServer),
    promote: impl AsyncFnOnce(&mut OwnServer),
) {
    let service = Service::start(&primary.database.url).await;
    let svc = service.client();
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let mut before = tokens(&svc, 1).await;
    assert!(before.iter().all(|(_, token)| *token == 1), "a new database begins with token 1: {before:?}");
    until_received(&standby, 1).await;
    cut_off(&mut standby).await;
    before.extend(tokens(&svc, 3).await);
    assert!(before.iter().any(|(_, token)| *token == 4), "{before:?}");
    drop(service);
    primary.kill();

    promote(&mut standby).await;
    let url = &standby.database.url;
    assert_eq!(sql::number(url, HAS).await.unwrap(), 1, "it lacks the last commits");
    let services = [Service::start(url).await, Service::start(url).await];
    for service in &services {
        let there = svc.at(service.port());
        let after = tokens(&there, 4).await;
        for (path, token) in &after {
            let highest = before.iter().filter(|(of, _)| of == path).map(|(_, token)| *token).max();
            assert!(highest.is_none_or(|highest| *token > highest), "{path}: {token} after {before:?}");
        }
        before.extend(after);
    }
    let epochs = before.iter().map(|(_, token)| token >> 22).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(epochs.len(), 2, "one raise is enough for all replicas: {epochs:?}");
}

/// Guards invariant 2.
#[tokio::test]
async fn a_standby_of_postgresql_that_lacks_the_last_commits_grants_no_token_twice() {
    let Some(primary) = OwnServer::start(Dialect::Postgres).await else { return };
    let Some(standby) = primary.standby().await else { return };
    let cut_off = async |standby: &mut OwnServer| standby.kill();
    let promote = async |standby: &mut OwnServer| {
        standby.start_again();
        let url = &standby.database.url;
        sql::number(url, "SELECT CAST(CAST(pg_promote() AS integer) AS bigint)").await.unwrap();
        let writes = async || {
            let recovers = "SELECT CAST(CAST(pg_is_in_recovery() AS integer) AS bigint)";
            (sql::number(url, recovers).await.unwrap() == 0).then_some(())
        };
        eventually("it was promoted", SOON, writes).await;
    };
    no_token_is_seen_twice(primary, standby, cut_off, promote).await;
}

/// Guards invariant 2.
#[tokio::test]
async fn a_replica_of_mariadb_that_lacks_the_last_commits_grants_no_token_twice() {
    let Some(primary) = OwnServer::start(Dialect::MariaDb).await else { return };
    let Some(replica) = OwnServer::start(Dialect::MariaDb).await else { return };
    let connection = sql::connect(&primary.database.url).await.unwrap();
    let query = Statement::from_string(connection.get_database_backend(), "SHOW MASTER STATUS");
    let status = connection.query_one_raw(query).await.unwrap().unwrap();
    let (file, position): (String, u64) =
        (status.try_get_by_index(0).unwrap(), status.try_get_by_index(1).unwrap());
    let address = primary.database.server_address();
    let (host, port) = address.split_once(':').unwrap();
    for statement in [
        "SET GLOBAL server_id = 2",
        &format!(
            "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER = 'locks', \
             MASTER_PASSWORD = 'locks', MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {position}"
        ),
        "START SLAVE",
    ] {
        sql::execute(&replica.database.url, statement).await.unwrap();
    }
    let cut_off =
        async |replica: &mut OwnServer| sql::execute(&replica.database.url, "STOP SLAVE").await.unwrap();
    let promote = async |replica: &mut OwnServer| {
        sql::execute(&replica.database.url, "RESET SLAVE ALL").await.unwrap();
    };
    no_token_is_seen_twice(primary, replica, cut_off, promote).await;
}

mod restart {
    use super::*;

    #[tokio::test]
    async fn postgres() {
        a_restart_of_the_server_may_raise_and_grants_go_on(Dialect::Postgres).await;
    }

    #[tokio::test]
    async fn mariadb() {
        a_restart_of_the_server_may_raise_and_grants_go_on(Dialect::MariaDb).await;
    }

    #[tokio::test]
    async fn mysql() {
        a_restart_of_the_server_may_raise_and_grants_go_on(Dialect::MySql).await;
    }
}

/// Guards invariants 2 and 3: earlier grants stay active in the new epoch.
async fn a_restart_of_the_server_may_raise_and_grants_go_on(dialect: Dialect) {
    let Some(mut server) = OwnServer::start(dialect).await else { return };
    let service = Service::start(&server.database.url).await;
    let svc = service.client();
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let before = tokens(&svc, 2).await;
    let held = svc.hold("held").await;
    // Start times of MariaDB and MySQL are known to a few seconds only.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    server.kill();
    server.start_again();
    let renewed = async || {
        let answer = svc.heartbeat("held", &held.version).await;
        (answer.status != 503).then_some(answer)
    };
    let renewed = eventually("the server is back", SOON, renewed).await.grant();
    assert_eq!((renewed.version, renewed.token), (held.version.clone(), held.token));
    let after = tokens(&svc, 2).await;
    for ((path, before), (_, after)) in before.iter().zip(&after) {
        assert!(after > before && after >> 22 > 0, "{path}: {before}, then {after}");
    }
    svc.release("held", &held.version).await.unheld(200);
    service.until_logged("the epoch of fencing tokens is raised").await;
}
