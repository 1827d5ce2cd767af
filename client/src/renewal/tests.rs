#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use async_trait::async_trait;

use super::*;
use crate::{
    lease::tests::lease,
    models::{LockItem, Page, Semaphore},
    options::{AcquireLockOptions, DeleteLockOptions, ListOptions, SendHeartbeatOptions},
};

const SOON: Duration = Duration::from_secs(10);

/// A service that records releases, and answers them or never does. All other calls fail.
struct RecordingService {
    releases: UnboundedSender<&'static str>,
    name: &'static str,
    answer: Option<fn() -> LockError>,
}

#[async_trait]
impl LockService for RecordingService {
    async fn release_lock(&self, _: &ReleaseLockOptions) -> LockResult<LockItem> {
        self.releases.send(self.name).unwrap();
        match self.answer {
            Some(error) => Err(error()),
            None => std::future::pending().await,
        }
    }

    async fn acquire_lock(&self, _: &AcquireLockOptions) -> LockResult<LockItem> {
        Err(stopping())
    }

    async fn send_heartbeat(&self, _: &SendHeartbeatOptions) -> LockResult<LockItem> {
        Err(stopping())
    }

    async fn get_lock(&self, _: &str) -> LockResult<LockItem> {
        Err(stopping())
    }

    async fn list_locks(&self, _: &ListOptions) -> LockResult<Page<LockItem>> {
        Err(stopping())
    }

    async fn delete_lock(&self, _: &DeleteLockOptions) -> LockResult<()> {
        Err(stopping())
    }

    async fn create_semaphore(&self, _: &Semaphore) -> LockResult<Semaphore> {
        Err(stopping())
    }

    async fn get_semaphore(&self, _: &str) -> LockResult<Semaphore> {
        Err(stopping())
    }

    async fn list_semaphores(&self, _: &ListOptions) -> LockResult<Page<Semaphore>> {
        Err(stopping())
    }

    async fn list_permits(&self, _: &str, _: &ListOptions) -> LockResult<Page<LockItem>> {
        Err(stopping())
    }

    async fn delete_semaphore(&self, _: &DeleteLockOptions) -> LockResult<()> {
        Err(stopping())
    }
}

fn absent() -> LockError {
    LockError::NotFound("the lock is gone".to_owned())
}

fn stopping() -> LockError {
    LockError::Unavailable { detail: "it stops".to_owned(), retry_after: Duration::ZERO }
}

/// A renewal whose service at hand gives this answer, and a record of which service was called.
fn renewal(at_hand: Option<fn() -> LockError>) -> (Renewal, UnboundedReceiver<&'static str>) {
    let (releases, asked) = mpsc::unbounded_channel();
    let [at_hand, thread] = [("at hand", at_hand), ("thread", Some(absent as fn() -> LockError))]
        .map(|(name, answer)| Arc::new(RecordingService { releases: releases.clone(), name, answer }));
    (Renewal::start(thread, Some(at_hand), CancellationToken::new()).unwrap(), asked)
}

/// A lease that its holder has released.
fn ended() -> Lease {
    let lease = lease(Duration::from_mins(1));
    assert!(lease.end());
    lease
}

#[tokio::test]
async fn a_release_takes_no_way_to_the_thread() {
    let (renewal, mut asked) = renewal(Some(absent));
    let lease = ended();
    renewal.release(&lease, lease.relied_until()).await.unwrap();
    assert_eq!(asked.recv().await, Some("at hand"));
    drop(renewal);
    assert_eq!(asked.recv().await, None);
}

#[tokio::test]
async fn a_release_that_is_not_waited_for_is_carried_out() {
    let (renewal, mut asked) = renewal(None);
    let lease = ended();
    tokio::select! {
        biased;
        _ = renewal.release(&lease, lease.relied_until()) => unreachable!("it is never answered"),
        first = asked.recv() => assert_eq!(first, Some("at hand")),
    }
    assert_eq!(tokio::time::timeout(SOON, asked.recv()).await.unwrap(), Some("thread"));
}

#[tokio::test]
async fn a_release_that_cannot_be_answered_now_is_tried_again() {
    let (renewal, mut asked) = renewal(Some(stopping));
    let lease = ended();
    renewal.release(&lease, lease.relied_until()).await.unwrap();
    assert_eq!((asked.recv().await, asked.recv().await), (Some("at hand"), Some("thread")));
}
