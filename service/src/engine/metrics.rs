//! The metrics of the engine. Labels are bounded: never a key, an owner or a tenant.
//!
//! Every metric is described and registered when the engine starts, so that the first scrape has it with all labels.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::{
    domain::{NotGrantedReason, Refusal, Reply},
    store::HeldCounts,
};

/// Steps of the database's clock, counted where they are noticed.
pub(super) const CLOCK_STEPS: &str = "db_locks_database_clock_steps_total";
/// Notifications of offers, and offers found without one, counted where this replica learns of them.
pub(super) const NOTIFICATIONS: &str = "db_locks_handover_notifications_total";
/// Rows removed by the sweeper.
pub(super) const SWEPT: &str = "db_locks_swept_total";

// The others, whose texts are with `describe`.
const WAIT_DURATION: &str = "db_locks_wait_duration_seconds";
const SHED_ACQUIRES: &str = "db_locks_shed_acquires_total";
const ACQUIRES: &str = "db_locks_acquires_total";
const BATCH_SIZE: &str = "db_locks_batch_size";
const LOST_RACES: &str = "db_locks_lost_races_total";
const HANDOVER_SKIPPED: &str = "db_locks_handover_skipped_total";
const REPLICAS_REAPED: &str = "db_locks_replicas_reaped_total";
const REFUSED_WAITERS: &str = "db_locks_refused_waiters_total";
const LEASES_EXPIRED: &str = "db_locks_leases_expired_total";
const HANDOVER_DURATION: &str = "db_locks_handover_duration_seconds";
const LOCKS_HELD: &str = "db_locks_locks_held";
const PERMITS_HELD: &str = "db_locks_permits_held";

/// The kinds of rows that are swept: the label `what`.
pub(super) const SWEPT_KINDS: [&str; 4] = ["ended", "idle", "tombstone", "place"];

/// Handles of the engine's metrics, looked up once.
pub(super) struct EngineMetrics {
    batch_size: Histogram,
    lost_races: Counter,
    notifications_sent: Counter,
    offers_skipped: Counter,
    replicas_reaped: Counter,
    refused_waiters: Counter,
    shed: ShedCounters,
    leases_expired: Counter,
    handover: Histogram,
    waited: WaitMetrics,
    acquires: AcquireCounters,
    locks_held: Gauge,
    permits_held: Gauge,
}

/// The reason why an acquire was shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShedReason {
    /// The acquire would have waited too long for a batch.
    QueueWait,
    /// Too many acquires were queued.
    QueueFull,
}

/// The acquires that were shed.
struct ShedCounters {
    queue_wait: Counter,
    queue_full: Counter,
}

/// The waiting times of acquires, by the outcome of the wait.
struct WaitMetrics {
    granted: Histogram,
    timed_out: Histogram,
    other: Histogram,
}

/// The numbers of acquires by outcome, which show how much contention there is.
struct AcquireCounters {
    granted_at_once: Counter,
    granted_after_waiting: Counter,
    refused_at_once: Counter,
    timed_out: Counter,
}

impl std::fmt::Debug for EngineMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineMetrics")
    }
}

impl EngineMetrics {
    pub(super) fn new() -> Self {
        describe();
        register_others();
        let waited = |outcome: &'static str| histogram!(WAIT_DURATION, "outcome" => outcome);
        let shed = |reason: &'static str| counter!(SHED_ACQUIRES, "reason" => reason);
        let acquires = |outcome: &'static str| counter!(ACQUIRES, "outcome" => outcome);
        Self {
            batch_size: histogram!(BATCH_SIZE),
            lost_races: counter!(LOST_RACES),
            notifications_sent: counter!(NOTIFICATIONS, "event" => "sent"),
            offers_skipped: counter!(HANDOVER_SKIPPED),
            replicas_reaped: counter!(REPLICAS_REAPED),
            refused_waiters: counter!(REFUSED_WAITERS),
            shed: ShedCounters { queue_wait: shed("queue_wait"), queue_full: shed("queue_full") },
            leases_expired: counter!(LEASES_EXPIRED),
            handover: histogram!(HANDOVER_DURATION),
            waited: WaitMetrics {
                granted: waited("granted"),
                timed_out: waited("timed_out"),
                other: waited("other"),
            },
            acquires: AcquireCounters {
                granted_at_once: acquires("granted_at_once"),
                granted_after_waiting: acquires("granted_after_waiting"),
                refused_at_once: acquires("refused_at_once"),
                timed_out: acquires("timed_out"),
            },
            locks_held: gauge!(LOCKS_HELD),
            permits_held: gauge!(PERMITS_HELD),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch has at most some hundred writes")]
    pub(super) fn batch(&self, writes: usize) {
        self.batch_size.record(writes as f64);
    }

    pub(super) fn lost_race(&self) {
        self.lost_races.increment(1);
    }

    pub(super) fn notified(&self, replicas: usize, offers_skipped: u64) {
        if replicas > 0 {
            self.notifications_sent.increment(replicas as u64);
        }
        if offers_skipped > 0 {
            self.offers_skipped.increment(offers_skipped);
        }
    }

    pub(super) fn expired(&self, leases: u64) {
        if leases > 0 {
            self.leases_expired.increment(leases);
        }
    }

    pub(super) fn shed(&self, reason: ShedReason) {
        match reason {
            ShedReason::QueueWait => self.shed.queue_wait.increment(1),
            ShedReason::QueueFull => self.shed.queue_full.increment(1),
        }
    }

    pub(super) fn replica_reaped(&self) {
        self.replicas_reaped.increment(1);
    }

    /// Counts an acquire that was answered without a wait.
    pub(super) fn answered_at_once(&self, reply: &Reply) {
        match reply {
            Reply::Granted(_) => self.acquires.granted_at_once.increment(1),
            Reply::Refused(Refusal::NotGranted(refusal)) => match refusal.reason {
                NotGrantedReason::NoWait | NotGrantedReason::GuardedTransaction => {
                    self.acquires.refused_at_once.increment(1);
                }
                NotGrantedReason::TimedOut => self.acquires.timed_out.increment(1),
            },
            Reply::Refused(Refusal::QueueFull(_)) => self.refused_waiters.increment(1),
            _ => {}
        }
    }

    /// Counts an acquire that was answered after a wait.
    pub(super) fn answered_after(&self, waited: Duration, reply: &Reply) {
        match reply {
            Reply::Granted(_) => {
                self.acquires.granted_after_waiting.increment(1);
                self.waited.granted.record(waited);
            }
            Reply::Refused(Refusal::NotGranted(_)) => {
                self.acquires.timed_out.increment(1);
                self.waited.timed_out.record(waited);
            }
            _ => self.waited.other.record(waited),
        }
    }

    /// Records a hand-over: the time from the release, or from the end of the lease, until the connection of the next
    /// holder took its answer.
    pub(super) fn handed_over(&self, took: Duration) {
        self.handover.record(took);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn held(&self, held: HeldCounts) {
        self.locks_held.set(held.locks as f64);
        self.permits_held.set(held.permits as f64);
    }
}

/// Registers the counters that are looked up only when they are incremented, because that is rare.
fn register_others() {
    for event in ["received", "missed", "found"] {
        counter!(NOTIFICATIONS, "event" => event).increment(0);
    }
    for direction in ["forward", "back"] {
        counter!(CLOCK_STEPS, "direction" => direction).increment(0);
    }
    for what in SWEPT_KINDS {
        counter!(SWEPT, "what" => what).increment(0);
    }
}

fn describe() {
    describe_histogram!(BATCH_SIZE, "Keys written by one commit");
    describe_histogram!(WAIT_DURATION, "Time that acquires waited in a queue, by outcome of the wait");
    describe_histogram!(
        HANDOVER_DURATION,
        "From the release of a lock or permit, or the end of its lease, until the answer of the next holder was sent"
    );
    describe_counter!(ACQUIRES, "Acquires by outcome: granted or refused, at once or after waiting");
    describe_counter!(
        LEASES_EXPIRED,
        "Leases that ended without release, counted when the key is granted again or deleted"
    );
    describe_counter!(REFUSED_WAITERS, "Acquires that could not wait because the queue was full");
    describe_counter!(
        SHED_ACQUIRES,
        "Acquires that were refused because of overload, by reason: too long a wait, a full queue"
    );
    describe_counter!(
        LOST_RACES,
        "Writes that failed because the key was not in the state that they assumed"
    );
    describe_counter!(
        NOTIFICATIONS,
        "Notifications to and from other replicas: sent, received, missed, found by the fallback look"
    );
    describe_counter!(
        HANDOVER_SKIPPED,
        "Offers that were skipped because their replica did not claim them in time"
    );
    describe_counter!(CLOCK_STEPS, "Steps of the database's clock");
    describe_counter!(REPLICAS_REAPED, "Replicas whose heartbeats stopped and whose waiters were removed");
    describe_gauge!(LOCKS_HELD, "Locks held in the whole database, counted by each replica now and then");
    describe_gauge!(PERMITS_HELD, "Permits out in the whole database, counted by each replica now and then");
    describe_counter!(SWEPT, "Rows removed by the sweeper, by kind");
}
