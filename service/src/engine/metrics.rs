//! What the engine counts. Labels are bounded: never a key, an owner or a tenant.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, histogram};

use crate::domain::{Refusal, Reply};

/// Handles of the engine's metrics, looked up once.
pub(super) struct EngineMetrics {
    batch_size: Histogram,
    lost_races: Counter,
    nudges: Counter,
    passed_over: Counter,
    refused_waiters: Counter,
    handover: Histogram,
    waited_granted: Histogram,
    waited_timed_out: Histogram,
    waited_other: Histogram,
}

impl std::fmt::Debug for EngineMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineMetrics")
    }
}

impl EngineMetrics {
    pub(super) fn new() -> Self {
        describe();
        let waited =
            |outcome: &'static str| histogram!("db_locks_wait_duration_seconds", "outcome" => outcome);
        Self {
            batch_size: histogram!("db_locks_batch_size"),
            lost_races: counter!("db_locks_lost_races_total"),
            nudges: counter!("db_locks_handover_notifications_total", "event" => "sent"),
            passed_over: counter!("db_locks_handover_passed_over_total"),
            refused_waiters: counter!("db_locks_refused_waiters_total"),
            handover: histogram!("db_locks_handover_duration_seconds"),
            waited_granted: waited("granted"),
            waited_timed_out: waited("timed_out"),
            waited_other: waited("other"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch has at most some hundred writes")]
    pub(super) fn batch(&self, writes: usize) {
        self.batch_size.record(writes as f64);
    }

    pub(super) fn lost_race(&self) {
        self.lost_races.increment(1);
    }

    pub(super) fn nudged(&self, replicas: usize, passed_over: u64) {
        if replicas > 0 {
            self.nudges.increment(replicas as u64);
        }
        if passed_over > 0 {
            self.passed_over.increment(passed_over);
        }
    }

    pub(super) fn refused_waiter(&self) {
        self.refused_waiters.increment(1);
    }

    /// `ms`: from the moment when the place was free, by the database's clock.
    #[expect(clippy::cast_precision_loss, reason = "a duration far below 2^52 ms")]
    pub(super) fn handed_over(&self, ms: i64) {
        self.handover.record(ms.max(0) as f64 / 1_000.0);
    }

    pub(super) fn waited(&self, time: Duration, reply: &Reply) {
        let histogram = match reply {
            Reply::Granted(_) => &self.waited_granted,
            Reply::Refused(Refusal::NotGranted(_)) => &self.waited_timed_out,
            _ => &self.waited_other,
        };
        histogram.record(time);
    }
}

fn describe() {
    describe_histogram!("db_locks_batch_size", "Keys written by one commit");
    describe_histogram!(
        "db_locks_wait_duration_seconds",
        "Time that acquires stood in a queue, by how it ended"
    );
    describe_histogram!(
        "db_locks_handover_duration_seconds",
        "From the free lock or permit to the answer of who waited"
    );
    describe_counter!(
        "db_locks_refused_waiters_total",
        "Acquires that could not wait because the queue was full"
    );
    describe_counter!("db_locks_lost_races_total", "Writes that another replica's write came before");
    describe_counter!(
        "db_locks_handover_notifications_total",
        "Hints to and from other replicas: sent, received, missed, found by the fallback look"
    );
    describe_counter!(
        "db_locks_handover_passed_over_total",
        "Offers that their replica did not claim in time"
    );
    describe_counter!("db_locks_database_clock_steps_total", "Steps of the database's clock");
    describe_counter!("db_locks_replicas_buried_total", "Replicas taken for dead");
    describe_gauge!("db_locks_waiters", "Requests of this replica that stand in queues");
    describe_gauge!("db_locks_locks_held", "Mutexes held, counted now and then by the replica that sweeps");
    describe_gauge!("db_locks_permits_held", "Permits out, counted now and then by the replica that sweeps");
    describe_counter!("db_locks_swept_total", "Rows removed by the sweeper, by what they were");
}
