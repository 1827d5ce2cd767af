//! A service that is killed in the middle of its work and started again.

use std::time::{Duration, Instant};

use serde_json::json;

use super::on_every_database;
use crate::support::{Client, Database, Grant, Service};

on_every_database![with_database:
    a_kill_loses_nothing_that_was_acknowledged,
    a_clean_restart_loses_nothing,
];

/// A grant that a caller was answered before the service died.
#[derive(Default)]
struct Acknowledged {
    held: Vec<(String, Grant)>,
    renewed: Vec<(String, Grant)>,
    released: Vec<(String, Grant)>,
}

/// Acquires keys of its own and renews or releases some of them, until the service does not answer any more.
async fn work(svc: Client, caller: usize) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    for round in 0.. {
        let key = format!("k{caller}-{round}");
        let ask = json!({"lease_duration_ms": 600_000, "owner": format!("caller {caller}")});
        let Some(acquired) = svc.try_post(&format!("/locks/{key}/acquire"), &ask).await else { break };
        let grant = acquired.grant();
        let version = json!({"version": grant.version, "data": "touched"});
        match round % 3 {
            0 => acknowledged.held.push((key, grant)),
            1 => match svc.try_post(&format!("/locks/{key}/heartbeat"), &version).await {
                Some(renewed) => acknowledged.renewed.push((key, renewed.grant())),
                None => break,
            },
            _ => match svc.try_post(&format!("/locks/{key}/release"), &version).await {
                Some(released) => {
                    released.unheld(200);
                    acknowledged.released.push((key, grant));
                }
                None => break,
            },
        }
    }
    acknowledged
}

async fn check(svc: &Client, acknowledged: &Acknowledged) {
    for (key, grant) in acknowledged.held.iter().chain(&acknowledged.renewed) {
        let shown = svc.lock(key).await.grant();
        assert_eq!((&shown.version, shown.token), (&grant.version, grant.token));
        for member in ["owner", "data", "expires_at"] {
            assert_eq!(shown.body[member], grant.body[member], "{key}: {member}");
        }
    }
    for (key, grant) in &acknowledged.released {
        let shown = svc.lock(key).await;
        assert_eq!(shown.unheld(200)["fencing_token"], grant.token, "{key}");
        assert_eq!(shown.body["data"], "touched");
    }
}

/// Guards invariant 3: no answered grant, heartbeat or release is lost.
async fn a_kill_loses_nothing_that_was_acknowledged(database: Database) {
    let mut service = Service::start(&database.url).await;
    let svc = service.client();
    let callers = (0..8).map(|caller| tokio::spawn(work(svc.clone(), caller))).collect::<Vec<_>>();
    // Kills the service when there is enough to lose.
    let busy = async || {
        let enough = svc.get("/locks?limit=120").await.body["items"]
            .as_array()
            .is_some_and(|items| items.len() >= 120);
        enough.then_some(())
    };
    crate::support::eventually("there is something to lose", Duration::from_secs(20), busy).await;
    service.signal("KILL");
    let mut acknowledged = Vec::new();
    for caller in callers {
        acknowledged.push(caller.await.unwrap());
    }
    let again = Service::start(&database.url).await;
    let svc = svc.at(again.port());
    let kept =
        acknowledged.iter().map(|one| one.held.len() + one.renewed.len() + one.released.len()).sum::<usize>();
    assert!(kept >= 60, "too little was acknowledged to lose: {kept}");
    for one in &acknowledged {
        check(&svc, one).await;
    }
}

/// Guards invariant 3: a grant outlives the process, with its version and its token.
async fn a_clean_restart_loses_nothing(database: Database) {
    let mut service = Service::start(&database.url).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    svc.put("/semaphores/s", json!({"max_size": 2})).await.expect(201);
    let permit = svc.post("/semaphores/s/acquire", json!({"lease_duration_ms": 60_000})).await.grant();
    service.signal("TERM");
    let begin = Instant::now();
    assert!(service.end(Duration::from_secs(10)).await.success(), "after {:?}", begin.elapsed());
    let again = Service::start(&database.url).await;
    let svc = svc.at(again.port());
    assert_eq!(svc.heartbeat("k", &held.version).await.grant().token, held.token);
    assert_eq!(svc.get("/semaphores/s").await.body["busy_count"], 1);
    svc.post("/semaphores/s/release", json!({"version": permit.version})).await.unheld(200);
    svc.release("k", &held.version).await.unheld(200);
    assert!(svc.hold("k").await.token > held.token);
}
