//! Renews all leases of a client, and releases in the background.
//!
//! It has a thread and a runtime of its own. A caller whose runtime is busy or blocked keeps its locks, and what is released
//! while the caller's runtime shuts down is released. Should the thread end, all leases are lost at once.

mod renewer;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
    time::Duration,
};

use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender},
    oneshot,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::LeaseInstant,
    error::{LockError, LockResult},
    lease::Lease,
    options::ReleaseLockOptions,
    release::{UNSEEN_TRIES, absent_is_released},
    service::LockService,
};

/// How long the last handle of a client waits, when it is dropped, for releases that are under way.
const LAST_RELEASES: Duration = Duration::from_secs(1);

enum Order {
    Keep(Arc<Lease>),
    /// The lease of this number was given back.
    Forget(u64),
    Release {
        options: ReleaseLockOptions,
        until: LeaseInstant,
        /// How often it is tried although the grant is refused.
        tries: u32,
        answer: oneshot::Sender<LockResult<()>>,
    },
}

/// The way to the thread that renews.
pub(crate) struct Renewal {
    /// Holds at most three orders a guard. `None` only while it is dropped.
    orders: Option<UnboundedSender<Order>>,
    /// The service, if its calls need no runtime: then a release is tried in the caller's task first, without a way to the thread and
    /// back.
    at_hand: Option<Arc<dyn LockService>>,
    /// Closed when the thread has ended.
    ended: Mutex<blocking::Receiver<()>>,
}

impl Renewal {
    /// Starts the thread. It ends when `failed` is cancelled: the service will never answer again.
    pub(crate) fn start(
        service: Arc<dyn LockService>,
        at_hand: Option<Arc<dyn LockService>>,
        failed: CancellationToken,
    ) -> LockResult<Self> {
        let cannot = |error: std::io::Error| LockError::Unavailable {
            detail: format!("the renewal cannot be started: {error}"),
            retry_after: Duration::from_secs(1),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let (running, ended) = blocking::channel::<()>();
        let run = move || {
            runtime.block_on(failed.run_until_cancelled(renewer::run(service, Inbox(inbox))));
            drop(running);
        };
        std::thread::Builder::new().name("db-locks-renewal".to_owned()).spawn(run).map_err(cannot)?;
        Ok(Self { orders: Some(orders), at_hand, ended: Mutex::new(ended) })
    }

    /// Renews a lease until it ends.
    pub(crate) fn keep(&self, lease: Arc<Lease>) {
        if let Some(Order::Keep(lease)) = self.send(Order::Keep(lease)) {
            lease.mark_lost();
        }
    }

    /// Forgets a lease that has ended. It would be forgotten at its next heartbeat anyway, but some leases are long.
    pub(crate) fn forget(&self, lease: &Lease) {
        // A thread that is gone has forgotten it.
        drop(self.send(Order::Forget(lease.number)));
    }

    /// Releases the grant of a lease that has ended, trying again until `until`; also when the future is dropped.
    pub(crate) async fn release(&self, lease: &Lease, until: LeaseInstant) -> LockResult<()> {
        if let Some(service) = &self.at_hand {
            let unanswered = Unanswered { renewal: self, lease, until };
            let answer = service.release_lock(&lease.release_options()).await;
            // It was answered.
            std::mem::forget(unanswered);
            match absent_is_released(answer.map(drop)) {
                Err(error) if error.retryable() => {}
                answer => {
                    self.forget(lease);
                    return answer;
                }
            }
        }
        // If the thread is gone the answer is dropped.
        let answer = self.release_in_background(lease, until).await;
        answer.unwrap_or_else(|_| Err(LockError::Unreachable("the renewal has ended".to_owned())))
    }

    /// The same by the thread. Nobody need wait for the answer.
    pub(crate) fn release_in_background(
        &self,
        lease: &Lease,
        until: LeaseInstant,
    ) -> oneshot::Receiver<LockResult<()>> {
        self.forget(lease);
        self.order_release(lease.release_options(), until, 1)
    }

    /// Gives back what may have been granted to a caller that has gone. It may still be granted until the service has noticed that.
    pub(crate) fn give_back(&self, options: ReleaseLockOptions, until: LeaseInstant) {
        drop(self.order_release(options, until, UNSEEN_TRIES));
    }

    fn order_release(
        &self,
        options: ReleaseLockOptions,
        until: LeaseInstant,
        tries: u32,
    ) -> oneshot::Receiver<LockResult<()>> {
        let (answer, released) = oneshot::channel();
        drop(self.send(Order::Release { options, until, tries, answer }));
        released
    }

    /// The order comes back if the thread has ended.
    fn send(&self, order: Order) -> Option<Order> {
        match &self.orders {
            Some(orders) => orders.send(order).err().map(|unsent| unsent.0),
            None => Some(order),
        }
    }
}

/// A release in the caller's task. If the caller does not wait for its answer, the thread releases once more.
struct Unanswered<'a> {
    renewal: &'a Renewal,
    lease: &'a Lease,
    until: LeaseInstant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        drop(self.renewal.release_in_background(self.lease, self.until));
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").finish_non_exhaustive()
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
