//! Locks that renew themselves.

use std::time::Duration;

use db_locks::{Client, LockError, LocksConfig, SendHeartbeatOptions};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::support::{Client as Caller, Dialect, eventually, names::free_port, service::shared};

const LEASE: Duration = Duration::from_secs(3);

/// A plain caller, and a client of the same tenant.
async fn clients() -> (Caller, Client) {
    let caller = shared(Dialect::Sqlite).await.unwrap();
    let client = client_at(caller.port(), &caller);
    (caller, client)
}

fn client_at(port: u16, caller: &Caller) -> Client {
    let config =
        LocksConfig::new(format!("http://127.0.0.1:{port}")).with_tenant(caller.tenant()).with_owner("me");
    Client::new(&config).unwrap()
}

#[tokio::test]
async fn a_guard_renews_its_lease_until_it_is_released() {
    let (caller, client) = clients().await;
    let guard = client.lock("k").lease(LEASE).acquire().await.unwrap();
    let first = *guard.relied_until().borrow();
    let two_leases_later = first.plus(2 * LEASE);
    let mut relied_until = guard.relied_until();
    let renewed = relied_until.wait_for(|until| *until > two_leases_later);
    tokio::time::timeout(Duration::from_secs(30), renewed).await.unwrap().unwrap();
    let shown = caller.lock("k").await;
    assert_eq!((&shown.body["owner"], &shown.body["version"]), (&json!("me"), &json!(guard.version())));
    assert!(guard.remaining() <= LEASE && !guard.is_lost());
    guard.release().await.unwrap();
    caller.lock("k").await.unheld(200);
}

/// The service would read zero as the default.
#[tokio::test]
async fn a_lease_of_no_time_is_refused() {
    let (caller, client) = clients().await;
    for lease in [Duration::ZERO, Duration::from_micros(999)] {
        let refused = client.lock("k").lease(lease).acquire().await;
        assert!(matches!(refused, Err(LockError::Validation(_))), "{refused:?}");
    }
    caller.lock("k").await.expect(404);
    let guard = client.lock("k").acquire().await.unwrap();
    let mut heartbeat = SendHeartbeatOptions::new("k", guard.version().to_owned(), None, 0, None);
    for lease in [0, -1, i64::MIN] {
        heartbeat.lease_duration_ms = Some(lease);
        let refused = client.send_heartbeat(&heartbeat).await;
        assert!(matches!(refused, Err(LockError::Validation(_))), "{lease}: {refused:?}");
    }
    guard.release().await.unwrap();
}

/// The lock is renewed even if its runtime is blocked for longer than the lease.
#[tokio::test(flavor = "current_thread")]
async fn a_blocked_runtime_keeps_its_locks() {
    let (_, client) = clients().await;
    let guard = client.lock("k").lease(LEASE).acquire().await.unwrap();
    std::thread::sleep(LEASE + LEASE / 4);
    assert!(!guard.is_lost());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_dropped_guard_releases_its_lock() {
    let (caller, client) = clients().await;
    drop(client.lock("k").lease(Duration::from_mins(1)).acquire().await.unwrap());
    caller.until_free("k", Duration::from_secs(5)).await;
    let guard = client.lock("k").lease(Duration::from_mins(1)).acquire().await.unwrap();
    let token = guard.cancellation_token();
    // The last handle of a client waits for pending releases, so a program may end now.
    drop(client);
    drop(guard);
    assert!(token.is_cancelled());
    caller.lock("k").await.unheld(200);
}

#[tokio::test]
async fn a_dropped_acquire_leaves_the_queue() {
    let (caller, client) = clients().await;
    let held = caller.hold("k").await;
    let waiting = tokio::spawn(client.lock("k").wait(Duration::from_mins(1)).acquire());
    caller.until_waiters("/locks/k", 1).await;
    waiting.abort();
    assert!(waiting.await.is_err());
    let next = caller.post_aside("/locks/k/acquire", json!({"wait_ms": 30_000}));
    eventually("the second one waits", Duration::from_secs(5), async || {
        (caller.lock("k").await.body["waiters"].as_i64()? >= 1).then_some(())
    })
    .await;
    caller.release("k", &held.version).await.expect(200);
    let granted = tokio::time::timeout(Duration::from_secs(5), next).await.unwrap().unwrap();
    assert_eq!(granted.grant().token, held.token + 1);
}

#[tokio::test]
async fn a_held_lock_is_not_granted() {
    let (caller, client) = clients().await;
    caller.hold("k").await;
    assert!(client.lock("k").try_acquire().await.unwrap().is_none());
    let refused = client.lock("k").wait(Duration::from_millis(20)).acquire().await;
    assert!(matches!(refused, Err(LockError::NotGranted(why)) if why.holders.len() == 1));
}

/// The lease counts from the sending of the request, and this request waits for longer than its lease.
#[tokio::test]
async fn a_grant_that_was_waited_for_has_a_whole_lease() {
    let (caller, client) = clients().await;
    let held = caller.hold("k").await;
    let waiting = tokio::spawn(client.lock("k").lease(LEASE).wait(Duration::from_secs(30)).acquire());
    caller.until_waiters("/locks/k", 1).await;
    tokio::time::sleep(LEASE).await;
    caller.release("k", &held.version).await.expect(200);
    let guard = waiting.await.unwrap().unwrap();
    assert!(guard.remaining() > LEASE / 2, "{:?}", guard.remaining());
}

/// Guards invariant 4: a repeat after a lost answer is the same grant, not a second one.
#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let (caller, _) = clients().await;
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let service = caller.port();
    let way = tokio::spawn(async move {
        // The first connection is closed when its answer has arrived. The others are let through.
        let (mut first, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", service)).await.unwrap();
        let (mut from_client, _) = first.split();
        let (from_server, mut to_server) = server.split();
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            readable = from_server.readable() => readable.unwrap(),
        }
        drop((first, server));
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", service)).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let client = client_at(port, &caller);
    let guard = client.lock("k").lease(Duration::from_mins(1)).acquire().await.unwrap();
    assert_eq!(guard.fencing_token(), 1);
    assert_eq!(caller.lock("k").await.body["version"], guard.version());
    guard.release().await.unwrap();
    way.abort();
}

#[tokio::test]
async fn work_under_a_lock_is_done_and_the_lock_released() {
    let (caller, client) = clients().await;
    let work = client.lock("k").with_lock(|lock| async move { lock.fencing_token() });
    assert_eq!(work.await.unwrap(), 1);
    caller.lock("k").await.unheld(200);
}
