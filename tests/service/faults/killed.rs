//! The database is killed and started again.

use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Dialect, SOON, Service, eventually, server::OwnServer};

mod postgres {
    #[tokio::test]
    async fn a_kill_of_the_database_loses_nothing_that_was_acknowledged() {
        super::a_kill_of_the_database(crate::support::Dialect::Postgres).await;
    }
}

mod mariadb {
    #[tokio::test]
    async fn a_kill_of_the_database_loses_nothing_that_was_acknowledged() {
        super::a_kill_of_the_database(crate::support::Dialect::MariaDb).await;
    }
}

mod mysql {
    #[tokio::test]
    async fn a_kill_of_the_database_loses_nothing_that_was_acknowledged() {
        super::a_kill_of_the_database(crate::support::Dialect::MySql).await;
    }
}

/// A grant whose version and token were answered, and whether its release was answered too.
struct AnsweredGrant {
    key: String,
    version: String,
    token: i64,
    released: bool,
}

/// Guards invariants 2 and 3: no answered grant or release is lost, and no token is granted again.
async fn a_kill_of_the_database(dialect: Dialect) {
    let Some(mut server) = OwnServer::start(dialect).await else { return };
    let service = Service::start(&server.database.url).await;
    let svc = service.client();
    let callers = (0..6).map(|caller| tokio::spawn(work(svc.clone(), caller))).collect::<Vec<_>>();
    let busy = async || {
        let page = svc.get("/locks?limit=100").await.body;
        page["items"].as_array().is_some_and(|items| items.len() >= 100).then_some(())
    };
    eventually("there is something to lose", SOON, busy).await;
    server.kill();
    let mut told = Vec::new();
    for caller in callers {
        told.extend(caller.await.unwrap());
    }
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = server.await.unwrap();
    let back = async || (svc.get("/ready").await.status == 200).then_some(());
    eventually("the service is ready again", Duration::from_secs(30), back).await;
    assert!(told.len() >= 60, "too little was acknowledged to lose: {}", told.len());
    for told in told {
        check(&svc, &told).await;
    }
}

async fn check(svc: &Client, told: &AnsweredGrant) {
    let shown = svc.lock(&told.key).await;
    if told.released {
        assert_eq!(shown.unheld(200)["fencing_token"], told.token);
        assert!(svc.hold(&told.key).await.token > told.token);
    } else {
        assert_eq!((shown.grant().version, shown.grant().token), (told.version.clone(), told.token));
    }
}

/// Acquires keys of its own and releases every other one, until the database is gone.
async fn work(svc: Client, caller: usize) -> Vec<AnsweredGrant> {
    let mut all = Vec::new();
    for round in 0.. {
        let key = format!("k{caller}-{round}");
        let answer = svc.acquire(&key, json!({"lease_duration_ms": 600_000})).await;
        if answer.status != 200 {
            answer.unavailable();
            break;
        }
        let grant = answer.grant();
        let mut told = AnsweredGrant { key, version: grant.version, token: grant.token, released: false };
        if round % 2 == 0 {
            let answer = svc.release(&told.key, &told.version).await;
            if answer.status != 200 {
                // It is not known whether the lock was released.
                answer.unavailable();
                break;
            }
            told.released = true;
        }
        all.push(told);
    }
    all
}
