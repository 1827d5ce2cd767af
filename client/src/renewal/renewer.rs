//! The work of the renewal thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Inbox, Order};
use crate::{
    clock::LeaseInstant,
    error::{LockError, LockResult},
    lease::Lease,
    models::LockItem,
    options::SendHeartbeatOptions,
    random,
    release::release,
    service::LockService,
};

/// Carries out orders until all senders are gone, and then waits for releases that are under way.
pub(super) async fn run(service: Arc<dyn LockService>, mut inbox: Inbox) {
    let mut renewer = Renewer::new(service);
    loop {
        tokio::select! {
            biased;
            () = next_event(&renewer.agenda) => renewer.serve_due(),
            Some(heartbeat) = renewer.heartbeats.join_next() => match heartbeat {
                Ok(heartbeat) => renewer.heartbeat_ended(heartbeat),
                // A heartbeat panicked. End the thread, so that all leases are lost.
                Err(_) => return,
            },
            Some(_) = renewer.releases.join_next() => {}
            order = inbox.0.recv() => match order {
                Some(order) => renewer.accept(order),
                None => break,
            },
        }
    }
    while renewer.releases.join_next().await.is_some() {}
}

async fn next_event(agenda: &BTreeSet<(LeaseInstant, u64)>) {
    match agenda.first() {
        Some((at, _)) => at.passed().await,
        None => std::future::pending().await,
    }
}

/// A lease that is renewed.
struct RenewedLease {
    lease: Arc<Lease>,
    /// When the next heartbeat is due; `None` while one is under way.
    due: Option<LeaseInstant>,
    /// The time of its entry in the agenda.
    next: LeaseInstant,
}

impl Drop for RenewedLease {
    fn drop(&mut self) {
        // A lease that is no longer renewed is lost, unless it was released. This holds for a panic of the thread as well.
        self.lease.mark_lost();
    }
}

/// A completed heartbeat: the number of the lease, when the heartbeat was sent, and its answer.
type Heartbeat = (u64, LeaseInstant, LockResult<LockItem>);

struct Renewer {
    service: Arc<dyn LockService>,
    kept: BTreeMap<u64, RenewedLease>,
    /// The time of each lease's next event: its next heartbeat or its end.
    agenda: BTreeSet<(LeaseInstant, u64)>,
    /// At most one for each lease.
    heartbeats: JoinSet<Heartbeat>,
    releases: JoinSet<()>,
}

impl Renewer {
    fn new(service: Arc<dyn LockService>) -> Self {
        Self {
            service,
            kept: BTreeMap::new(),
            agenda: BTreeSet::new(),
            heartbeats: JoinSet::new(),
            releases: JoinSet::new(),
        }
    }

    fn accept(&mut self, order: Order) {
        match order {
            Order::Keep(lease) => {
                let (id, now) = (lease.number, LeaseInstant::now());
                let due = Some(now.plus(random::jitter(lease.duration / 3)));
                self.kept.insert(id, RenewedLease { lease, due, next: now });
                self.schedule(id);
            }
            Order::Forget(id) => self.forget(id),
            Order::Release { options, until, tries, answer } => {
                let service = Arc::clone(&self.service);
                self.releases.spawn(async move {
                    let call = || {
                        let (service, options) = (Arc::clone(&service), options.clone());
                        async move { service.release_lock(&options).await.map(drop) }
                    };
                    // The receiver is gone if the caller does not wait.
                    let _ = answer.send(release(call, until, tries).await);
                });
            }
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(kept) = self.kept.remove(&id) {
            self.agenda.remove(&(kept.next, id));
        }
    }

    /// Updates the agenda entry of a lease.
    fn schedule(&mut self, id: u64) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        self.agenda.remove(&(kept.next, id));
        let end = kept.lease.relied_until();
        kept.next = kept.due.map_or(end, |due| due.min(end));
        self.agenda.insert((kept.next, id));
    }

    /// Handles the events that are due.
    fn serve_due(&mut self) {
        let now = LeaseInstant::now();
        while let Some(&(at, id)) = self.agenda.first()
            && at <= now
        {
            self.agenda.pop_first();
            let Some(kept) = self.kept.get_mut(&id) else { continue };
            if kept.lease.is_lost() || kept.lease.is_ended() {
                self.kept.remove(&id);
                continue;
            }
            if kept.due.is_some_and(|due| due <= now) {
                kept.due = None;
                let heartbeat = heartbeat(Arc::clone(&self.service), id, Arc::clone(&kept.lease));
                self.heartbeats.spawn(heartbeat);
            }
            self.schedule(id);
        }
    }

    fn heartbeat_ended(&mut self, (id, sent_at, answer): Heartbeat) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        let third = kept.lease.duration / 3;
        match answer {
            Ok(grant) => {
                if let Some(relied_until) = grant.relied_until() {
                    kept.lease.extend(relied_until);
                }
                kept.due = Some(sent_at.plus(random::jitter(third)));
            }
            Err(LockError::Lost(_) | LockError::NotFound(_)) => self.forget(id),
            Err(error) => {
                tracing::warn!(key = kept.lease.key, %error, "a heartbeat failed; it is tried again");
                let pause = random::jitter(kept.lease.duration / 20).max(Duration::from_millis(5));
                kept.due = Some(LeaseInstant::now().plus(pause));
            }
        }
        self.schedule(id);
    }
}

async fn heartbeat(service: Arc<dyn LockService>, id: u64, lease: Arc<Lease>) -> Heartbeat {
    let duration_ms = i64::try_from(lease.duration.as_millis()).unwrap_or(i64::MAX);
    let options =
        SendHeartbeatOptions::new(lease.key.clone(), lease.version.clone(), None, duration_ms, None);
    let options = SendHeartbeatOptions { uses_semaphore: lease.is_permit, ..options };
    let sent_at = LeaseInstant::now();
    let answer = tokio::time::timeout(lease.duration / 3, service.send_heartbeat(&options)).await;
    let answer = answer.unwrap_or_else(|_| Err(LockError::Unreachable("no answer in time".to_owned())));
    (id, sent_at, answer)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::{LocksConfig, http::HttpLockService, lease::tests::lease};

    /// Leases may be long, so ended ones must not pile up.
    #[tokio::test]
    async fn what_was_given_back_is_kept_no_longer() {
        let service = HttpLockService::new(&LocksConfig::new("http://127.0.0.1:1")).unwrap();
        let mut renewer = Renewer::new(Arc::new(service));
        let [given_back, held] = [lease(Duration::from_mins(1)), lease(Duration::from_mins(1))].map(Arc::new);
        renewer.accept(Order::Keep(Arc::clone(&given_back)));
        renewer.accept(Order::Keep(Arc::clone(&held)));
        assert!(given_back.end());
        renewer.accept(Order::Forget(given_back.number));
        assert_eq!(renewer.kept.keys().collect::<Vec<_>>(), [&held.number]);
        assert_eq!(renewer.agenda.len(), 1);
        assert!(!given_back.is_lost());
    }
}
