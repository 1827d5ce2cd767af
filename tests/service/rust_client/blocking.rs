//! The client for programs without an async runtime.

use std::{thread, time::Duration};

use db_locks::{
    AcquireLockOptionsBuilder, LockError, LockHandle, LocksConfig,
    blocking::{self, Client},
};

use crate::support::{Client as Caller, Dialect, Service, service::shared};

const LEASE: Duration = Duration::from_secs(3);

/// Runs a test in a thread without a runtime.
async fn without_runtime(caller: &Caller, test: impl FnOnce(Client) + Send + 'static) {
    let url = format!("http://127.0.0.1:{}", caller.port());
    let config = LocksConfig::new(url).with_owner("me").with_tenant(caller.tenant());
    let thread = thread::spawn(move || test(Client::new(&config).unwrap()));
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_guard_renews_its_lease_and_gives_the_lock_back() {
    let caller = shared(Dialect::Sqlite).await.unwrap();
    without_runtime(&caller, |client| {
        let guard = client.lock("k").lease(LEASE).data("half done").acquire().unwrap();
        thread::sleep(LEASE + LEASE / 4);
        assert!(!guard.is_lost() && !guard.wait_lost(Duration::from_millis(1)));
        assert!(client.lock("k").try_acquire().unwrap().is_none());
        assert_eq!(client.get_lock("k").unwrap().data.as_deref(), Some("half done"));
        guard.release().unwrap();
        let token = client.lock("k").with_lock(LockHandle::fencing_token).unwrap();
        assert_eq!(token, 2);
        // A dropped guard releases in the background.
        drop(client.lock("k").acquire().unwrap());
        client.lock("k").wait(Duration::from_secs(5)).acquire().unwrap().release().unwrap();
    })
    .await;
}

#[tokio::test]
async fn threads_share_a_client_and_take_turns() {
    let caller = shared(Dialect::Sqlite).await.unwrap();
    without_runtime(&caller, |client| {
        let work = |client: Client| {
            move || {
                for _ in 0..5 {
                    client.lock("k").wait(Duration::from_secs(20)).acquire().unwrap().release().unwrap();
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(work(client.clone()))).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(client.get_lock("k").unwrap().fencing_token, 20);
    })
    .await;
}

#[tokio::test]
async fn the_calls_one_by_one() {
    let caller = shared(Dialect::Sqlite).await.unwrap();
    without_runtime(&caller, |client| {
        let options = AcquireLockOptionsBuilder::new("mylock", 10_000).build();
        let lock = client.acquire_lock(&options).unwrap();
        assert!(client.try_acquire_lock(&options).unwrap().is_none());
        client.send_heartbeat(&lock.to_heartbeat_options()).unwrap();
        assert!(!client.release_lock(&lock.to_release_options()).unwrap().locked);
        client
            .create_semaphore(&AcquireLockOptionsBuilder::new("pool", 1000).build().to_semaphore(2))
            .unwrap();
        let permit = client.permit("pool").acquire().unwrap();
        assert_eq!(client.get_semaphore_locks("pool").unwrap().len(), 1);
        permit.release().unwrap();
        assert!(matches!(client.get_lock("none"), Err(LockError::NotFound(_))));
    })
    .await;
}

#[tokio::test]
async fn a_lost_lock_says_so() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let mut service = Service::start(&database.url).await;
    let url = format!("http://127.0.0.1:{}", service.port());
    let guard = tokio::task::spawn_blocking(move || {
        let client = blocking::connect(url).unwrap();
        (client.lock("k").lease(LEASE).acquire().unwrap(), client)
    });
    let (guard, client) = guard.await.unwrap();
    service.signal("KILL");
    let lost = tokio::task::spawn_blocking(move || {
        let lost = guard.wait_lost(2 * LEASE);
        let released = guard.release();
        drop(client);
        lost && matches!(released, Err(LockError::Lost(_)))
    });
    assert!(lost.await.unwrap());
}
