//! Guarded semaphores: a guard row for each permit.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{User, on_every_database};
use crate::support::{Answer, Client, Database, Dialect, Fleet, Grant, SHORT_MS, SOON, Service, eventually};

on_every_database![with_database:
    each_permit_passes_with_its_own_version,
    a_large_semaphore_is_not_guarded,
    the_first_guarded_grants_are_not_more_than_there_are_permits,
    after_a_shrink_no_more_pass_than_there_are_permits,
    an_open_transaction_keeps_its_own_permit_only,
    a_transaction_of_an_expired_permit_keeps_its_place,
    a_deletion_waits_for_the_transactions_of_expired_permits,
    a_put_ends_the_guard_of_permits_that_are_in,
    a_waiter_of_another_replica_is_granted_a_guarded_permit,
];

async fn set_up(database: &Database, size: u32) -> (Service, Client, User) {
    let service = Service::start_with(&database.url, &[("DB_LOCKS_GUARD_WAIT_MS", "200")]).await;
    let client = service.client();
    let user = User::of(database, &client).await;
    let put = client.put("/semaphores/s", json!({"max_size": size, "guarded": true})).await.expect(201);
    assert_eq!(put.body["guarded"], true);
    (service, client, user)
}

async fn permit(svc: &Client, lease_ms: u64) -> Grant {
    let ask = json!({"lease_duration_ms": lease_ms, "wait_ms": 0});
    svc.post("/semaphores/s/acquire", ask).await.grant()
}

async fn release(svc: &Client, grant: &Grant) -> Answer {
    svc.post("/semaphores/s/release", json!({"version": grant.version})).await
}

async fn until_busy(svc: &Client, count: u64) {
    let has_count = async || (svc.get("/semaphores/s").await.body["busy_count"] == count).then_some(());
    eventually(&format!("{count} permits are out"), SOON, has_count).await;
}

fn refused() -> Result<i64, String> {
    Err("DL001".to_owned())
}

async fn each_permit_passes_with_its_own_version(database: Database) {
    let (_service, svc, user) = set_up(&database, 2).await;
    let (one, two) = (permit(&svc, 60_000).await, permit(&svc, 60_000).await);
    assert_eq!((&one.body["guarded"], &two.body["guarded"]), (&json!(true), &json!(true)));
    assert_eq!(user.guard_alone("s", &one.version).await, Ok(one.token));
    assert_eq!(user.guard_alone("s", &two.version).await, Ok(two.token));
    assert_eq!(release(&svc, &one).await.unheld(200)["guarded"], true);
    assert_eq!(user.guard_alone("s", &one.version).await, refused());
    let three = permit(&svc, 60_000).await;
    for (grant, passes) in [(&one, false), (&two, true), (&three, true)] {
        assert_eq!(user.guard_alone("s", &grant.version).await.is_ok(), passes);
    }
    svc.post("/semaphores/s/heartbeat", json!({"version": two.version})).await.grant();
    let permits = svc.get("/semaphores/s/permits").await.body;
    assert_eq!(permits["items"][0]["guarded"], true);
    assert_eq!(svc.get("/semaphores").await.body["items"][0]["guarded"], true);
}

async fn a_large_semaphore_is_not_guarded(database: Database) {
    let (_service, svc, user) = set_up(&database, 1_000).await;
    let large = |size: u32| json!({"max_size": size, "guarded": true});
    svc.put("/semaphores/l", large(1_001)).await.names_invalid("max_size");
    svc.put("/semaphores/s", json!({"max_size": 1_001})).await.names_invalid("max_size");
    svc.put("/semaphores/l", json!({"max_size": 1_001})).await.expect(201);
    svc.post("/semaphores/l/acquire", json!({"guarded": true})).await.problem(400, "invalid-request");
    svc.put("/semaphores/l", json!({"max_size": 2})).await.expect(200);
    let grant = svc.post("/semaphores/l/acquire", json!({"guarded": true})).await.grant();
    assert_eq!(user.guard_alone("l", &grant.version).await, Ok(grant.token), "it is sticky as for locks");
    assert_eq!(svc.get("/semaphores/l").await.body["guarded"], true);
}

/// Of so many permits the service does not keep all in memory.
async fn the_first_guarded_grants_are_not_more_than_there_are_permits(database: Database) {
    const SIZE: usize = 300;
    let service = Service::start(&database.url).await;
    let svc = service.client();
    svc.put("/semaphores/s", json!({"max_size": SIZE})).await.expect(201);
    let mut permits = JoinSet::new();
    for _ in 0..SIZE {
        let svc = svc.clone();
        permits.spawn(async move { permit(&svc, 600_000).await });
    }
    let permits = permits.join_all().await;
    let ask = json!({"lease_duration_ms": 600_000, "guarded": true, "wait_ms": 600_000});
    let _waiting = [(); 3].map(|()| svc.post_aside("/semaphores/s/acquire", ask.clone()));
    svc.until_waiters("/semaphores/s", 3).await;
    release(&svc, &permits[0]).await.unheld(200);
    let served = async || Some(svc.get("/semaphores/s").await.body).filter(|body| body["waiters"] != 3);
    let semaphore = eventually("one is served", SOON, served).await;
    assert_eq!((&semaphore["busy_count"], &semaphore["waiters"]), (&json!(SIZE), &json!(2)));
}

/// Otherwise three permits, a shrink to one and three expiries would leave three grants that pass.
async fn after_a_shrink_no_more_pass_than_there_are_permits(database: Database) {
    let (_service, svc, user) = set_up(&database, 3).await;
    let before = [permit(&svc, 2_000).await, permit(&svc, 2_000).await, permit(&svc, 2_000).await];
    svc.put("/semaphores/s", json!({"max_size": 1})).await.expect(200);
    until_busy(&svc, 0).await;
    let after = permit(&svc, 60_000).await;
    assert_eq!(user.guard_alone("s", &after.version).await, Ok(after.token));
    for grant in &before {
        assert_eq!(user.guard_alone("s", &grant.version).await, refused());
    }
}

async fn an_open_transaction_keeps_its_own_permit_only(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let (_service, svc, user) = set_up(&database, 2).await;
    let (one, two) = (permit(&svc, 60_000).await, permit(&svc, 60_000).await);
    user.begin().await;
    user.guard("s", &one.version).await.unwrap();
    release(&svc, &one).await.problem(409, "guarded-transaction-open");
    svc.post("/semaphores/s/heartbeat", json!({"version": one.version}))
        .await
        .problem(409, "version-mismatch");
    release(&svc, &two).await.unheld(200);
    let three = permit(&svc, 60_000).await;
    let full = svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await;
    full.not_granted("guarded_transaction");
    svc.post("/semaphores/s/heartbeat", json!({"version": three.version})).await.grant();
    user.run("COMMIT").await;
    let granted = async || {
        let answer = svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await;
        (answer.status == 200).then_some(())
    };
    eventually("its place is free", SOON, granted).await;
    let again = release(&svc, &one).await;
    assert!(
        again.status == 200 || again.status == 409,
        "its slot may have been granted again: {}",
        again.text
    );
}

async fn a_transaction_of_an_expired_permit_keeps_its_place(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let (_service, svc, user) = set_up(&database, 1).await;
    let one = permit(&svc, SHORT_MS).await;
    user.begin().await;
    user.guard("s", &one.version).await.unwrap();
    until_busy(&svc, 0).await;
    svc.post("/semaphores/s/acquire", json!({"wait_ms": 0})).await.not_granted("guarded_transaction");
    let waiting = svc.post_aside("/semaphores/s/acquire", json!({"wait_ms": 30_000}));
    svc.until_waiters("/semaphores/s", 1).await;
    assert!(!waiting.is_finished());
    user.run("COMMIT").await;
    let next = waiting.await.unwrap().grant();
    assert_eq!(user.guard_alone("s", &one.version).await, refused());
    assert_eq!(user.guard_alone("s", &next.version).await, Ok(next.token));
}

async fn a_deletion_waits_for_the_transactions_of_expired_permits(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let (_service, svc, user) = set_up(&database, 2).await;
    let one = permit(&svc, SHORT_MS).await;
    user.begin().await;
    user.guard("s", &one.version).await.unwrap();
    until_busy(&svc, 0).await;
    svc.delete("/semaphores/s").await.problem(409, "guarded-transaction-open");
    user.run("COMMIT").await;
    let deleted = async || (svc.delete("/semaphores/s").await.status == 204).then_some(());
    eventually("it is deleted", SOON, deleted).await;
    assert_eq!(user.guard_alone("s", &one.version).await, refused());
}

async fn a_put_ends_the_guard_of_permits_that_are_in(database: Database) {
    let (_service, svc, user) = set_up(&database, 2).await;
    let one = permit(&svc, 60_000).await;
    let unguard = json!({"max_size": 2, "guarded": false});
    svc.put("/semaphores/s", unguard.clone()).await.problem(409, "in-use");
    release(&svc, &one).await.unheld(200);
    let put: Value = svc.put("/semaphores/s", unguard).await.expect(200).body;
    assert_eq!(put["guarded"], false);
    let two = permit(&svc, 60_000).await;
    assert_eq!(user.guard_alone("s", &two.version).await, user.refusal_of_unguarded());
}

async fn a_waiter_of_another_replica_is_granted_a_guarded_permit(database: Database) {
    let fleet = Fleet::start(database.clone(), 2).await;
    let svc = fleet.at(0);
    let user = User::of(&database, &svc).await;
    svc.put("/semaphores/s", json!({"max_size": 1, "guarded": true})).await.expect(201);
    let one = permit(&svc, 60_000).await;
    let waiting = fleet.at(1).post_aside("/semaphores/s/acquire", json!({"wait_ms": 30_000}));
    svc.until_waiters("/semaphores/s", 1).await;
    release(&svc, &one).await.unheld(200);
    let two = waiting.await.unwrap().grant();
    assert_eq!(user.guard_alone("s", &one.version).await, refused());
    assert_eq!(user.guard_alone("s", &two.version).await, Ok(two.token));
}
