//! Guarded locks of the Rust client: a transaction of the database relies on the grant.

use db_locks::{AcquireLockOptionsBuilder, Client, LockError, LocksConfig};

use crate::{
    conformance::on_every_database,
    guards::user::User,
    support::{Client as Caller, Database, Dialect, Service},
};

on_every_database![with_database:
    an_embedded_clients_transaction_passes_until_the_release,
];

async fn check(client: &Client, caller: &Caller, user: &User) {
    let refused = || Err("DL001".to_owned());
    let guard = client.lock("k").guarded().acquire().await.unwrap();
    assert_eq!(caller.lock("k").await.grant().body["guarded"], true);
    let token = i64::try_from(guard.fencing_token()).unwrap();
    user.begin().await;
    assert_eq!(user.guard("k", guard.version()).await, Ok(token));
    user.run("INSERT INTO account VALUES (1, 100)").await;
    user.run("COMMIT").await;
    let version = guard.version().to_owned();
    guard.release().await.unwrap();
    assert_eq!(user.guard_alone("k", &version).await, refused());
    assert!(client.get_lock("k").await.unwrap().guarded, "it stays guarded");

    // The same with the calls of the library of 2022, with a permit.
    let options = AcquireLockOptionsBuilder::new("s", 60_000).with_guarded(true).build();
    assert!(client.create_semaphore(&options.to_semaphore(2)).await.unwrap().guarded);
    let options = AcquireLockOptionsBuilder::new("s", 60_000).with_uses_semaphore(true).build();
    let permit = client.acquire_lock(&options).await.unwrap();
    assert!(permit.guarded);
    let version = permit.version.clone().unwrap();
    assert_eq!(user.guard_alone("s", &version).await, Ok(1));
    client.release_lock(&permit.to_release_options()).await.unwrap();
    assert_eq!(user.guard_alone("s", &version).await, refused());

    let plain = client.lock("plain").acquire().await.unwrap();
    assert_eq!(user.guard_alone("plain", plain.version()).await, refused());
    assert!(!client.get_lock("plain").await.unwrap().guarded);
}

#[tokio::test]
async fn a_transaction_passes_until_the_release() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let caller = service.client();
    let user = User::of(&database, &caller).await;
    let url = format!("http://127.0.0.1:{}", service.port());
    let client = Client::new(&LocksConfig::new(url).with_tenant(caller.tenant())).unwrap();
    check(&client, &caller, &user).await;
}

async fn an_embedded_clients_transaction_passes_until_the_release(database: Database) {
    let service = Service::start(&database.url).await;
    let caller = service.client();
    let user = User::of(&database, &caller).await;
    let config = LocksConfig::new(database.url.as_str()).with_tenant(caller.tenant());
    let client = Client::connect(&config).await.unwrap();
    check(&client, &caller, &user).await;
}

#[tokio::test]
async fn a_semaphore_that_is_too_large_is_not_guarded() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let client = Client::connect(&LocksConfig::new(database.url.as_str())).await.unwrap();
    let options = AcquireLockOptionsBuilder::new("s", 60_000).with_guarded(true).build();
    let refused = client.create_semaphore(&options.to_semaphore(1_001)).await;
    assert!(matches!(refused, Err(LockError::Validation(_))), "{refused:?}");
}
