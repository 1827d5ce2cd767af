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
    let mut answered = Vec::new();
    for caller in callers {
        answered.extend(caller.await.unwrap());
    }
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = server.await.unwrap();
    let back = async || (svc.get("/ready").await.status == 200).then_some(());
    eventually("the service is ready again", Duration::from_secs(30), back).await;
    assert!(answered.len() >= 60, "too little was acknowledged to lose: {}", answered.len());
    for grant in answered {
        check(&svc, &grant).await;
    }
}

async fn check(svc: &Client, grant: &AnsweredGrant) {
    let shown = svc.lock(&grant.key).await;
    if grant.released {
        assert_eq!(shown.unheld(200)["fencing_token"], grant.token);
        assert!(svc.hold(&grant.key).await.token > grant.token);
    } else {
        assert_eq!((shown.grant().version, shown.grant().token), (grant.version.clone(), grant.token));
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
        let mut answered = AnsweredGrant { key, version: grant.version, token: grant.token, released: false };
        if round % 2 == 0 {
            let answer = svc.release(&answered.key, &answered.version).await;
            if answer.status != 200 {
                // It is not known whether the lock was released.
                answer.unavailable();
                break;
            }
            answered.released = true;
        }
        all.push(answered);
    }
    all
}
