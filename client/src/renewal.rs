//! Renews all leases of a client, and releases in the background.
//!
//! It has a thread and a runtime of its own. A caller whose runtime is busy or blocked keeps its locks, and what is released
//! while the caller's runtime shuts down is released. Should the thread end, all leases are lost at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::JoinSet,
};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::LeaseInstant,
    error::{LockError, LockResult},
    lease::Lease,
    models::LockItem,
    options::{ReleaseLockOptions, SendHeartbeatOptions},
    random,
    release::{UNSEEN_TRIES, release},
    service::LockService,
};

/// How long the last handle of a client waits, when it is dropped, for releases that are under way.
const LAST_RELEASES: Duration = Duration::from_secs(1);

/// The answer to a release.
pub(crate) type Released = oneshot::Receiver<LockResult<()>>;

enum Order {
    Keep(Arc<Lease>),
    Release {
        options: ReleaseLockOptions,
        until: LeaseInstant,
        /// How often it is tried although the grant is refused.
        tries: u32,
        answer: oneshot::Sender<LockResult<()>>,
    },
}

/// The way to the thread that renews.
#[derive(Debug)]
pub(crate) struct Renewal {
    /// Holds at most two orders a guard. `None` only while it is dropped.
    orders: Option<UnboundedSender<Order>>,
    /// Closed when the thread has ended.
    ended: Mutex<blocking::Receiver<()>>,
}

impl Renewal {
    /// Starts the thread. It ends when `failed` is cancelled: the service will never answer again.
    pub(crate) fn start(service: Arc<dyn LockService>, failed: CancellationToken) -> LockResult<Self> {
        let cannot = |error: std::io::Error| LockError::Unavailable {
            detail: format!("the renewal cannot be started: {error}"),
            retry_after: Duration::from_secs(1),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let (running, ended) = blocking::channel::<()>();
        let run = move || {
            runtime.block_on(failed.run_until_cancelled(run(service, Inbox(inbox))));
            drop(running);
        };
        std::thread::Builder::new().name("db-locks-renewal".to_owned()).spawn(run).map_err(cannot)?;
        Ok(Self { orders: Some(orders), ended: Mutex::new(ended) })
    }

    /// Renews a lease until it ends.
    pub(crate) fn keep(&self, lease: Arc<Lease>) {
        if let Some(Order::Keep(lease)) = self.send(Order::Keep(lease)) {
            lease.mark_lost();
        }
    }

    /// Releases a grant, trying again until `until`.
    pub(crate) fn release(&self, options: ReleaseLockOptions, until: LeaseInstant) -> Released {
        let (answer, released) = oneshot::channel();
        // If the thread is gone the answer is dropped, which says so.
        drop(self.send(Order::Release { options, until, tries: 1, answer }));
        released
    }

    /// Gives back what may have been granted to a caller that has gone. It may still be granted until the service has noticed that.
    pub(crate) fn give_back(&self, options: ReleaseLockOptions, until: LeaseInstant) {
        // Nobody waits for the answer.
        let (answer, _) = oneshot::channel();
        drop(self.send(Order::Release { options, until, tries: UNSEEN_TRIES, answer }));
    }

    /// The order comes back if the thread has ended.
    fn send(&self, order: Order) -> Option<Order> {
        match &self.orders {
            Some(orders) => orders.send(order).err().map(|unsent| unsent.0),
            None => Some(order),
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        // The thread ends when there is nobody left to order anything, after its last releases. A program that ends now
        // would take them with it.
        self.orders = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(LAST_RELEASES);
    }
}

/// Orders that arrive. What is in it when the thread ends is lost.
struct Inbox(UnboundedReceiver<Order>);

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.close();
        while let Ok(order) = self.0.try_recv() {
            if let Order::Keep(lease) = order {
                lease.mark_lost();
            }
        }
    }
}

async fn run(service: Arc<dyn LockService>, mut inbox: Inbox) {
    let mut renewer = Renewer {
        service,
        kept: BTreeMap::new(),
        agenda: BTreeSet::new(),
        next_id: 0,
        heartbeats: JoinSet::new(),
        releases: JoinSet::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = next_event(&renewer.agenda) => renewer.serve_due(),
            Some(heartbeat) = renewer.heartbeats.join_next() => match heartbeat {
                Ok(heartbeat) => renewer.heartbeat_ended(heartbeat),
                // A heartbeat that panicked: nothing can be promised any more.
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
struct Kept {
    lease: Arc<Lease>,
    /// When the next heartbeat is due; `None` while one is under way.
    due: Option<LeaseInstant>,
    /// Its place in the agenda.
    next: LeaseInstant,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // What is not renewed any more is lost, unless it was given back. So it is, too, when the thread panics.
        self.lease.mark_lost();
    }
}

/// A heartbeat that has ended: of which lease, when it was sent, and how.
type Heartbeat = (u64, LeaseInstant, LockResult<LockItem>);

struct Renewer {
    service: Arc<dyn LockService>,
    kept: BTreeMap<u64, Kept>,
    /// When to look at which lease: at its next heartbeat, or its end.
    agenda: BTreeSet<(LeaseInstant, u64)>,
    next_id: u64,
    /// At most one a lease.
    heartbeats: JoinSet<Heartbeat>,
    releases: JoinSet<()>,
}

impl Renewer {
    fn accept(&mut self, order: Order) {
        match order {
            Order::Keep(lease) => {
                let id = self.next_id;
                self.next_id += 1;
                let now = LeaseInstant::now();
                let due = Some(now.plus(random::jitter(lease.duration / 3)));
                self.kept.insert(id, Kept { lease, due, next: now });
                self.schedule(id);
            }
            Order::Release { options, until, tries, answer } => {
                let service = Arc::clone(&self.service);
                self.releases.spawn(async move {
                    let call = || {
                        let (service, options) = (Arc::clone(&service), options.clone());
                        async move { service.release_lock(&options).await.map(drop) }
                    };
                    // Whoever asked may have gone.
                    let _ = answer.send(release(call, until, tries).await);
                });
            }
        }
    }

    /// Puts a lease into the agenda anew.
    fn schedule(&mut self, id: u64) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        self.agenda.remove(&(kept.next, id));
        let end = kept.lease.relied_until();
        kept.next = kept.due.map_or(end, |due| due.min(end));
        self.agenda.insert((kept.next, id));
    }

    /// Looks at each lease whose time has come.
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
            Err(LockError::Lost(_) | LockError::NotFound(_)) => {
                self.agenda.remove(&(kept.next, id));
                self.kept.remove(&id);
            }
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
