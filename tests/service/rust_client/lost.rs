//! The client knows that a lock is lost before its lease ends in the database.

use std::time::Duration;

use db_locks::{Client, LeaseInstant, LockError, LocksConfig};
use tokio::sync::{oneshot, watch};

use crate::support::{Client as Caller, Database, Dialect, Service};

const LEASE: Duration = Duration::from_secs(3);
const IN_TIME: Duration = Duration::from_secs(15);
/// How late a busy machine may run the task that waits for the signal.
const LATE: Duration = Duration::from_secs(2);

/// The version of a grant, and until when its holder relies on it.
type Held = (String, watch::Receiver<LeaseInstant>);

/// Two services of one database: the client uses one, and the test asks the other for the state of the lock.
struct World {
    _database: Database,
    service: Service,
    _other: Service,
    observer: Caller,
    client: Client,
}

impl World {
    async fn new() -> Self {
        let database = Dialect::Sqlite.database().await.unwrap();
        let service = Service::start(&database.url).await;
        let other = Service::start(&database.url).await;
        let observer = service.client().at(other.port());
        let url = format!("http://127.0.0.1:{}", service.port());
        let client = Client::new(&LocksConfig::new(url).with_tenant(observer.tenant())).unwrap();
        Self { _database: database, service, _other: other, observer, client }
    }

    /// Waits for the signal that the lock is lost. Meanwhile it asks the other service for the rest of the lease, which
    /// lasts at least that long from the moment before the request. The signal must be due before its end.
    async fn before_the_lease_ends(&self, (version, relied_until): Held, signal: impl Future<Output = ()>) {
        let mut end = LeaseInstant::now();
        let observe = async {
            loop {
                let asked_at = LeaseInstant::now();
                let shown = self.observer.lock("k").await;
                if shown.body["version"] == version {
                    let rest_ms = shown.body["expires_in_ms"].as_u64().unwrap();
                    end = end.max(asked_at.plus(Duration::from_millis(rest_ms)));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            biased;
            () = signal => {}
            () = observe => {}
            () = tokio::time::sleep(IN_TIME) => panic!("no signal"),
        }
        let due = *relied_until.borrow();
        assert!(due <= end, "{:?} too late", due.since(end));
        assert!(due.plus(LATE) > LeaseInstant::now(), "it was due at {due:?}");
    }
}

/// The service neither answers nor closes connections.
#[tokio::test]
async fn a_service_that_does_not_answer_loses_the_lock_before_its_lease_ends() {
    let mut world = World::new().await;
    let guard = world.client.lock("k").lease(LEASE).acquire().await.unwrap();
    world.service.signal("STOP");
    world.before_the_lease_ends((guard.version().to_owned(), guard.relied_until()), guard.lost()).await;
    assert!(guard.is_lost() && guard.cancellation_token().is_cancelled());
    assert_eq!(guard.remaining(), Duration::ZERO);
    // A lost lock stays lost, even if the service is back.
    world.service.signal("CONT");
    assert!(matches!(guard.release().await, Err(LockError::Lost(_))));
}

#[tokio::test]
async fn a_killed_service_loses_the_lock_before_its_lease_ends() {
    let mut world = World::new().await;
    let guard = world.client.lock("k").lease(LEASE).acquire().await.unwrap();
    world.service.signal("KILL");
    world.before_the_lease_ends((guard.version().to_owned(), guard.relied_until()), guard.lost()).await;
}

#[tokio::test]
async fn work_is_dropped_when_the_lock_is_lost() {
    let mut world = World::new().await;
    let (begun, held) = oneshot::channel::<Held>();
    let (is_dropped, dropped) = oneshot::channel::<()>();
    let work = world.client.lock("k").lease(LEASE).with_lock(|lock| async move {
        let _held = is_dropped;
        begun.send((lock.version().to_owned(), lock.relied_until())).unwrap();
        std::future::pending::<()>().await;
    });
    let work = tokio::spawn(work);
    let held = held.await.unwrap();
    world.service.signal("KILL");
    // The sender is dropped with the work.
    world.before_the_lease_ends(held, async { assert!(dropped.await.is_err()) }).await;
    assert!(matches!(work.await.unwrap(), Err(LockError::Lost(_))));
}

/// The service answers that the grant was taken away, long before the end of the lease.
#[tokio::test]
async fn a_grant_that_was_taken_away_is_lost_with_the_next_heartbeat() {
    let world = World::new().await;
    let guard = world.client.lock("k").lease(LEASE).acquire().await.unwrap();
    world.observer.release("k", guard.version()).await.expect(200);
    tokio::time::timeout(IN_TIME, guard.lost()).await.unwrap();
    assert!(matches!(guard.release().await, Err(LockError::Lost(_))));
}
