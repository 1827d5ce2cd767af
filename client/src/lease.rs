//! The lease of a grant that this process holds.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{clock::LeaseInstant, models::LockItem, options::ReleaseLockOptions};

/// A grant, the instant until which its holder may rely on it, and whether the lease has ended.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Identifies the lease within this process.
    pub(crate) number: u64,
    pub(crate) key: String,
    pub(crate) is_permit: bool,
    pub(crate) version: String,
    pub(crate) fencing_token: u64,
    pub(crate) owner: String,
    pub(crate) duration: Duration,
    /// Never later than the end of the lease by the service's clock minus the margin.
    relied_until: watch::Sender<LeaseInstant>,
    /// Cancelled when the lease is lost. A lost lease stays lost.
    lost: CancellationToken,
    /// Cancelled when the lease is lost or released.
    ended: CancellationToken,
}

/// The margin subtracted from the end of a lease, so that the holder learns of a loss before the lease ends. It covers late timers
/// and clocks of two machines that run at different speeds.
fn margin(lease: Duration) -> Duration {
    (lease / 50).clamp(Duration::from_millis(10), Duration::from_millis(250)).min(lease / 4)
}

impl Lease {
    /// The lease of a grant; `None` if the answer is not a grant.
    pub(crate) fn of(grant: LockItem, is_permit: bool) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let duration = Duration::from_millis(grant.lease_duration_ms);
        Some(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            relied_until: watch::Sender::new(grant.relied_until()?.minus(margin(duration))),
            key: grant.key,
            is_permit,
            version: grant.version?,
            fencing_token: grant.fencing_token,
            owner: grant.owner?,
            duration,
            lost: CancellationToken::new(),
            ended: CancellationToken::new(),
        })
    }

    /// The instant after which the holder must not rely on the lease.
    pub(crate) fn relied_until(&self) -> LeaseInstant {
        *self.relied_until.borrow()
    }

    /// The current value and all changes of [`relied_until`](Self::relied_until).
    pub(crate) fn subscribe(&self) -> watch::Receiver<LeaseInstant> {
        self.relied_until.subscribe()
    }

    /// Extends the lease after a heartbeat. A lost lease stays lost: its holder may know of the loss already.
    pub(crate) fn extend(&self, relied_until: LeaseInstant) {
        if !self.is_lost() {
            self.relied_until.send_replace(relied_until.minus(margin(self.duration)));
        }
    }

    /// Whether the lease ended without being released. The clock decides, even if the renewal thread has not noticed yet.
    pub(crate) fn is_lost(&self) -> bool {
        if !self.lost.is_cancelled() && !self.is_ended() && self.relied_until().remaining().is_zero() {
            self.mark_lost();
        }
        let is_lost = self.lost.is_cancelled();
        if is_lost {
            // Another thread may run between the two calls: a caller that sees "lost" must see "ended" as well.
            self.ended.cancel();
        }
        is_lost
    }

    /// Whether the lease was lost or released.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Marks the lease as lost.
    pub(crate) fn mark_lost(&self) {
        if !self.is_ended() {
            self.lost.cancel();
            self.ended.cancel();
        }
    }

    /// Marks the lease as released by its holder. False if the lease was lost before.
    pub(crate) fn end(&self) -> bool {
        let held = !self.is_lost();
        self.ended.cancel();
        held
    }

    /// Completes when the lease is lost. Each poll reads the clock, so after a pause of the process the caller learns of the loss
    /// first, even if the renewal thread has not run yet.
    pub(crate) async fn lost(&self) {
        let mut signalled = pin!(self.lost.cancelled());
        poll_fn(|context| if self.is_lost() { Poll::Ready(()) } else { signalled.as_mut().poll(context) })
            .await;
    }

    /// A token that is cancelled when the lease is lost or released.
    pub(crate) fn cancellation_token(&self) -> CancellationToken {
        // A child token: cancelling it does not end the lease.
        self.ended.child_token()
    }

    /// The options that release the grant.
    pub(crate) fn release_options(&self) -> ReleaseLockOptions {
        let options = ReleaseLockOptions::new(self.key.clone(), self.version.clone(), None, None);
        ReleaseLockOptions { uses_semaphore: self.is_permit, ..options }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
pub(crate) mod tests {
    use super::*;

    /// A lease of one minute with `left` remaining.
    pub(crate) fn lease(left: Duration) -> Lease {
        let grant = serde_json::json!({
            "key": "k", "tenant": "default", "locked": true, "version": "v", "fencing_token": 1, "owner": "o",
            "lease_duration_ms": 60_000, "expires_in_ms": u64::try_from(left.as_millis()).unwrap(),
            "delete_on_release": false, "waiters": 0, "created_at": "", "updated_at": "",
        });
        let grant = serde_json::from_value::<LockItem>(grant).unwrap();
        Lease::of(LockItem { sent_at: Some(LeaseInstant::now()), ..grant }, false).unwrap()
    }

    #[test]
    fn a_lease_is_lost_by_the_clock_before_it_ends() {
        let ends_within_the_margin = lease(Duration::from_millis(200));
        assert!(ends_within_the_margin.is_lost());
        assert!(ends_within_the_margin.cancellation_token().is_cancelled());
    }

    /// Otherwise one part of the holder stops because of the loss while another part goes on.
    #[test]
    fn what_is_lost_stays_lost() {
        let lease = lease(Duration::ZERO);
        assert!(lease.is_lost());
        lease.extend(LeaseInstant::now().plus(Duration::from_mins(1)));
        assert!(lease.is_lost());
    }

    #[test]
    fn what_was_given_back_is_not_lost() {
        let lease = lease(Duration::from_mins(1));
        assert!(lease.end());
        lease.mark_lost();
        assert!(!lease.is_lost());
        assert!(lease.cancellation_token().is_cancelled());
    }

    #[test]
    fn short_leases_keep_most_of_their_time() {
        assert_eq!(margin(Duration::from_millis(20)), Duration::from_millis(5));
        assert_eq!(margin(Duration::from_secs(1)), Duration::from_millis(20));
        assert_eq!(margin(Duration::from_hours(1)), Duration::from_millis(250));
    }
}
