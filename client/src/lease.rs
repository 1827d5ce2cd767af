//! What is known of a lease that is held.

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

/// A grant, until when its holder may rely on it, and whether it is over.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Tells it from all others of this process.
    pub(crate) number: u64,
    pub(crate) key: String,
    pub(crate) is_permit: bool,
    pub(crate) version: String,
    pub(crate) fencing_token: u64,
    pub(crate) owner: String,
    pub(crate) duration: Duration,
    /// Never later than the end of the lease by the service's clock, less the margin.
    relied_until: watch::Sender<LeaseInstant>,
    /// Cancelled when the lease is lost, for good.
    lost: CancellationToken,
    /// Cancelled when the lease is lost, or given back.
    ended: CancellationToken,
}

/// What is taken off the end of a lease, so that who is told that it is lost can be told before it is: for timers that are
/// late, and for clocks of two machines that do not run equally fast.
fn margin(lease: Duration) -> Duration {
    (lease / 50).clamp(Duration::from_millis(10), Duration::from_millis(250)).min(lease / 4)
}

impl Lease {
    /// The lease of a grant; `None` where the answer is not a grant.
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

    /// The instant after which its holder may not rely on it.
    pub(crate) fn relied_until(&self) -> LeaseInstant {
        *self.relied_until.borrow()
    }

    /// The same, and each change of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<LeaseInstant> {
        self.relied_until.subscribe()
    }

    /// A heartbeat succeeded. What was lost stays lost: its holder may have been told.
    pub(crate) fn extend(&self, relied_until: LeaseInstant) {
        if !self.is_lost() {
            self.relied_until.send_replace(relied_until.minus(margin(self.duration)));
        }
    }

    /// Whether the lease is over although nobody gave it back. The clock decides, whether or not the renewal has come to it.
    pub(crate) fn is_lost(&self) -> bool {
        if !self.lost.is_cancelled() && !self.is_ended() && self.relied_until().remaining().is_zero() {
            self.mark_lost();
        }
        let is_lost = self.lost.is_cancelled();
        if is_lost {
            // Another thread may be between the two: who hears that it is lost finds it ended, too.
            self.ended.cancel();
        }
        is_lost
    }

    /// Whether it was lost or given back.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// The lease is over.
    pub(crate) fn mark_lost(&self) {
        if !self.is_ended() {
            self.lost.cancel();
            self.ended.cancel();
        }
    }

    /// The holder gives it back. False if it was lost before.
    pub(crate) fn end(&self) -> bool {
        let held = !self.is_lost();
        self.ended.cancel();
        held
    }

    /// Comes back when the lease is lost. Each time that it is polled it asks the clock: after a pause of the process the
    /// caller hears of the loss before anything else, even if the renewal has not run yet.
    pub(crate) async fn lost(&self) {
        let mut signalled = pin!(self.lost.cancelled());
        poll_fn(|context| if self.is_lost() { Poll::Ready(()) } else { signalled.as_mut().poll(context) })
            .await;
    }

    /// A token that is cancelled when the lease is lost or given back.
    pub(crate) fn cancellation_token(&self) -> CancellationToken {
        // A child: cancelling it does not end the lease.
        self.ended.child_token()
    }

    /// What gives the grant back.
    pub(crate) fn release_options(&self) -> ReleaseLockOptions {
        let options = ReleaseLockOptions::new(self.key.clone(), self.version.clone(), None, None);
        ReleaseLockOptions { uses_semaphore: self.is_permit, ..options }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
pub(crate) mod tests {
    use super::*;

    /// A lease of a minute of which so much is left.
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

    /// Otherwise a holder that was told stops, and another part of it goes on.
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
