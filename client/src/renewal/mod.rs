//! Renews all leases of a client, and releases grants in the background.
//!
//! The renewal has a thread and a runtime of its own. So a caller with a busy or blocked runtime keeps its locks, and a release
//! works while the caller's runtime shuts down. If the thread ends, all leases are lost at once.

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

/// How long the drop of a client's last handle waits for releases that are under way.
const LAST_RELEASES: Duration = Duration::from_secs(1);

enum Order {
    Keep(Arc<Lease>),
    /// The lease of this number was released.
    Forget(u64),
    Release {
        options: ReleaseLockOptions,
        until: LeaseInstant,
        /// The number of attempts if the service refuses the release.
        tries: u32,
        answer: oneshot::Sender<LockResult<()>>,
    },
}

/// The handle of the renewal thread.
pub(crate) struct Renewal {
    /// The channel to the thread, which holds at most three orders for each guard. `None` only during the drop.
    orders: Option<UnboundedSender<Order>>,
    /// The service, if its calls need no runtime. A release is then tried in the caller's task first, which saves the way to the
    /// thread and back.
    at_hand: Option<Arc<dyn LockService>>,
    /// A channel that is closed when the thread ends.
    ended: Mutex<blocking::Receiver<()>>,
}

impl Renewal {
    /// Starts the thread. Cancelling `failed` ends the thread: it means that the service will never answer again.
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

    /// Forgets a lease that has ended. The thread would forget it at the next heartbeat too, but some leases are long.
    pub(crate) fn forget(&self, lease: &Lease) {
        // If the thread has ended, nothing has to be forgotten.
        drop(self.send(Order::Forget(lease.number)));
    }

    /// Releases the grant of an ended lease, and tries again until `until`. Dropping the future does not stop the release.
    pub(crate) async fn release(&self, lease: &Lease, until: LeaseInstant) -> LockResult<()> {
        if let Some(service) = &self.at_hand {
            let unanswered = Unanswered { renewal: self, lease, until };
            let answer = service.release_lock(&lease.release_options()).await;
            // The release was answered, so it need not be repeated in the background.
            std::mem::forget(unanswered);
            match absent_is_released(answer.map(drop)) {
                Err(error) if error.retryable() => {}
                answer => {
                    self.forget(lease);
                    return answer;
                }
            }
        }
        // If the thread has ended, the channel of the answer is closed.
        let answer = self.release_in_background(lease, until).await;
        answer.unwrap_or_else(|_| Err(LockError::Unreachable("the renewal has ended".to_owned())))
    }

    /// Has the thread release the grant. The answer may be ignored.
    pub(crate) fn release_in_background(
        &self,
        lease: &Lease,
        until: LeaseInstant,
    ) -> oneshot::Receiver<LockResult<()>> {
        self.forget(lease);
        self.order_release(lease.release_options(), until, 1)
    }

    /// Releases what may have been granted to a caller that is gone. The service may grant it until it notices that.
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

    /// Sends an order. Returns the order if the thread has ended.
    fn send(&self, order: Order) -> Option<Order> {
        match &self.orders {
            Some(orders) => orders.send(order).err().map(|unsent| unsent.0),
            None => Some(order),
        }
    }
}

/// A release in the caller's task. If the caller drops it before the answer, the thread repeats the release.
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
        // Without a sender of orders the thread ends after its last releases. Wait for them: the program may end now.
        self.orders = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(LAST_RELEASES);
    }
}

/// The receiver of orders. Leases whose orders are still in it when the thread ends are lost.
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
