//! The engine in the caller's own process, on a database that others share.

use std::time::Duration;

use db_locks::{
    AcquireLockOptionsBuilder, Client, DeleteLockOptions, ListOptions, LockError, LocksConfig,
    ReleaseLockOptions, SendHeartbeatOptions,
};
use serde_json::json;

use crate::{
    commands::process::{exit_code, program_at},
    conformance::on_every_database,
    support::{Client as Caller, Database, Service, eventually},
};

on_every_database![with_database:
    an_embedded_client_and_a_service_share_the_locks,
    two_embedded_clients_take_turns,
    the_calls_one_by_one,
    a_dropped_acquire_leaves_the_queue,
    commands_need_no_service,
    a_database_is_migrated_unless_that_is_forbidden,
];

const SOON: Duration = Duration::from_secs(10);

async fn embedded(database: &Database, caller: &Caller) -> Client {
    let config = LocksConfig::new(database.url.as_str()).with_owner("embedded").with_tenant(caller.tenant());
    Client::connect(&config).await.unwrap()
}

async fn an_embedded_client_and_a_service_share_the_locks(database: Database) {
    let service = Service::start(&database.url).await;
    let caller = service.client();
    let client = embedded(&database, &caller).await;
    let guard = client.lock("k").lease(Duration::from_secs(3)).acquire().await.unwrap();
    // The lock renews itself.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let shown = caller.lock("k").await.grant();
    assert_eq!((shown.body["owner"].as_str(), shown.version.as_str()), (Some("embedded"), guard.version()));
    caller.acquire("k", json!({"wait_ms": 0})).await.expect(423);
    // A waiter at the service is handed the lock.
    let waiting = tokio::spawn({
        let caller = caller.clone();
        async move { caller.acquire("k", json!({"wait_ms": 10_000})).await.grant() }
    });
    caller.until_waiters("/locks/k", 1).await;
    guard.release().await.unwrap();
    let theirs = waiting.await.unwrap();
    assert_eq!(theirs.token, shown.token + 1);
    let refused = client.lock("k").wait(Duration::ZERO).acquire().await;
    assert!(matches!(refused, Err(LockError::NotGranted(_))), "{refused:?}");
    // The same in the other direction.
    let waiting = client.lock("k").wait(SOON).acquire();
    let released = async {
        caller.until_waiters("/locks/k", 1).await;
        caller.release("k", &theirs.version).await.expect(200);
    };
    let (guard, ()) = tokio::join!(waiting, released);
    drop(guard.unwrap());
    caller.until_free("k", SOON).await;
}

async fn two_embedded_clients_take_turns(database: Database) {
    let config = LocksConfig::new(database.url.as_str());
    let clients = [Client::connect(&config).await.unwrap(), Client::connect(&config).await.unwrap()];
    let tasks = clients.map(|client| {
        tokio::spawn(async move {
            for _ in 0..5 {
                let guard = client.lock("k").wait(Duration::from_secs(30)).acquire().await.unwrap();
                guard.release().await.unwrap();
            }
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    let client = Client::connect(&config).await.unwrap();
    assert_eq!(client.get_lock("k").await.unwrap().fencing_token, 10);
}

async fn the_calls_one_by_one(database: Database) {
    let config = LocksConfig::new(database.url.as_str()).with_owner("test_owner");
    let lock_service = Client::connect(&config).await.unwrap();
    let options = AcquireLockOptionsBuilder::new("mylock", 10_000).with_data("half done").build();
    let lock = lock_service.acquire_lock(&options).await.unwrap();
    assert_eq!((lock.owner.as_deref(), lock.data.as_deref()), (Some("test_owner"), Some("half done")));
    assert!(lock.locked && !lock.expired() && lock.acquired_at.as_ref().is_some_and(|at| at.ends_with('Z')));
    assert!(lock_service.try_acquire_lock(&options).await.unwrap().is_none());
    let renew = SendHeartbeatOptions::new("mylock", lock.version.clone(), Some(true), 20_000, None);
    let renewed = lock_service.send_heartbeat(&renew).await.unwrap();
    assert!(renewed.remaining() > lock.remaining() && renewed.data.is_none());
    assert_eq!(lock_service.list_locks(&ListOptions::default()).await.unwrap().items.len(), 1);
    let release = ReleaseLockOptions::new("mylock", lock.version.clone(), None, None);
    assert!(!lock_service.release_lock(&release).await.unwrap().locked);
    let late = lock_service.send_heartbeat(&renew).await;
    assert!(matches!(late, Err(LockError::Lost(_))), "{late:?}");
    lock_service.delete_lock(&DeleteLockOptions::new("mylock", None)).await.unwrap();
    assert!(matches!(lock_service.get_lock("mylock").await, Err(LockError::NotFound(_))));

    lock_service.create_semaphore(&options.to_semaphore(3)).await.unwrap();
    let permit = lock_service.permit("mylock").acquire().await.unwrap();
    assert_eq!(lock_service.get_semaphore("mylock").await.unwrap().busy_count, 1);
    assert_eq!(lock_service.get_semaphore_locks("mylock").await.unwrap()[0].fencing_token, 2);
    let used = lock_service.delete_semaphore(&DeleteLockOptions::new("mylock", None)).await;
    assert!(matches!(used, Err(LockError::Conflict(_))), "{used:?}");
    permit.release().await.unwrap();

    for invalid in [
        AcquireLockOptionsBuilder::new("", 1_000),
        AcquireLockOptionsBuilder::new("k", -1),
        AcquireLockOptionsBuilder::new("k", 86_400_001),
        AcquireLockOptionsBuilder::new("k", 1_000).with_owner("\0"),
        AcquireLockOptionsBuilder::new("k", 1_000).with_version("x"),
        AcquireLockOptionsBuilder::new("k", 1_000).with_override_time_to_wait_for_lock_ms(600_001),
        AcquireLockOptionsBuilder::new("k", 1_000).with_uses_semaphore(true).with_reentrant(true),
    ] {
        let refused = lock_service.acquire_lock(&invalid.build()).await;
        assert!(matches!(refused, Err(LockError::Validation(_))), "{refused:?}");
    }
}

async fn a_dropped_acquire_leaves_the_queue(database: Database) {
    let service = Service::start(&database.url).await;
    let caller = service.client();
    let client = embedded(&database, &caller).await;
    let held = caller.hold("k").await;
    let waiting = tokio::spawn(async move { client.lock("k").wait(SOON).acquire().await });
    caller.until_waiters("/locks/k", 1).await;
    waiting.abort();
    // The version was chosen, so the place is kept for a repeat. The waiter is passed over at once.
    caller.release("k", &held.version).await.expect(200);
    let free = async || (caller.acquire("k", json!({"wait_ms": 0})).await.status == 200).then_some(());
    eventually("the lock is free", SOON, free).await;
}

async fn commands_need_no_service(database: Database) {
    let run = ["run", "k", "--", "sh", "-c", "echo token $DB_LOCKS_FENCING_TOKEN"];
    for token in 1..=2 {
        let (code, text) = exit_code(program_at(&database.url, "default", &run)).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(&format!("token {token}\n")), "{text}");
    }
    let (code, text) = exit_code(program_at(&database.url, "default", &["get", "k", "--json"])).await;
    assert!(code == Some(0) && text.contains(r#""locked":false"#), "{text}");
}

async fn a_database_is_migrated_unless_that_is_forbidden(database: Database) {
    let config = LocksConfig::new(database.url.as_str());
    let refused = Client::connect(&config.clone().with_migrations(false)).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("schema")));
    let command = || {
        let mut command = program_at(&database.url, "default", &["get", "k"]);
        command.env("DB_LOCKS_MIGRATE", "false");
        command
    };
    let (code, text) = exit_code(command()).await;
    assert_eq!(code, Some(69), "{text}");
    Client::connect(&config).await.unwrap();
    let (code, text) = exit_code(command()).await;
    assert!(code == Some(1) && text.contains("not found"), "{text}");
    let client = Client::connect(&config.with_migrations(false)).await.unwrap();
    client.lock("k").acquire().await.unwrap().release().await.unwrap();
}
