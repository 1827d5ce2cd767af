//! The texts about each kind of work beside its numbers.

use crate::settings::{Settings, Work};

/// The heading of a kind of work.
pub(super) fn title(work: Work) -> &'static str {
    match work {
        Work::Pairs => "(a) Acquire and release on distinct keys",
        Work::Heartbeats => "(b) Heartbeats on held locks",
        Work::Hot => "(c) One hot key",
        Work::Semaphore => "(d) A semaphore",
        Work::Rows => "(e) A full table",
        Work::Replicas => "(f) Several replicas",
        Work::Idle => "(g) Idle waiters",
        Work::Order => "(h) Order",
        Work::Guard => "(i) Guarded locks",
        Work::Embedded => "(j) The engine in the caller's process",
    }
}

/// The explanation of the numbers of a kind of work.
pub(super) fn explanation(work: Work, settings: &Settings) -> String {
    let pace = settings.rate.map_or_else(
        || "Closed loop: a client starts its next pair when its last one is answered, so the times are those that a \
            client sees at this very load, and leave out what a stall keeps from starting."
            .to_owned(),
        |rate| format!("Open loop: {rate} pairs a second start, and each is measured from when it was due."),
    );
    match work {
        Work::Pairs => format!(
            "{pace} Each connection goes through {} keys of its own, all of them used before it counts.",
            settings.keys_per_connection
        ),
        Work::Rows => format!(
            "{pace} Full: {} rows at least. New keys have no row; the table's keys have one that no process remembers, \
             and come once. The database has just been started in the cases with an empty table.",
            settings.rows
        ),
        Work::Replicas => format!("{pace} All replicas use one PostgreSQL on the same processors."),
        Work::Heartbeats => "Closed loop, over all held locks in turn. With etcd it is its leases that are kept alive, \
                             one for each lock, of which it writes nothing to its disk."
            .into(),
        Work::Hot => "One client holds the lock and releases it at once, the others wait; who has released queues again. \
                      The times are hand-overs: from the sending of a release to the arrival of the next grant. With \
                      several replicas the clients are spread over them."
            .into(),
        Work::Semaphore => "Closed loop: a client takes a permit, gives it back at once, and queues again. The times are \
                            those of the whole turn, the wait included."
            .into(),
        Work::Idle => "Requests that wait for held keys until they give up. The memory is the growth of the service's \
                       resident set from before they connected."
            .into(),
        Work::Guard => format!(
            "{pace} Guarded and unguarded pairs in turn, on keys of their own. Transactions: BEGIN, the proof that nobody else \
             writes, COMMIT, one after the other on one connection; the times are those of the proof alone."
        ),
        Work::Embedded => format!(
            "{pace} The crate `db_locks` in the process of the load beside the service over HTTP; with the crate the load's \
             processors are the engine's, too."
        ),
        Work::Order => "Waiters queued one after another, on the replicas in turn, are to be granted in that order. One \
                        row a database."
            .into(),
    }
}
