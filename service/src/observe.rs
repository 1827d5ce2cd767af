//! Counts what callers asked for, how it ended and how long it took. Labels are bounded by these two enums.

use std::{
    future::Future,
    sync::OnceLock,
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram, counter, histogram};

use crate::{domain::Refusal, service::ServiceError};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Acquire,
    Heartbeat,
    Release,
    Get,
    Put,
    Delete,
    List,
}

const OPERATIONS: [(Operation, &str); 7] = [
    (Operation::Acquire, "acquire"),
    (Operation::Heartbeat, "heartbeat"),
    (Operation::Release, "release"),
    (Operation::Get, "get"),
    (Operation::Put, "put"),
    (Operation::Delete, "delete"),
    (Operation::List, "list"),
];

const OUTCOMES: [&str; 11] = [
    "ok",
    "not_found",
    "version_mismatch",
    "lease_expired",
    "in_use",
    "wrong_kind",
    "superseded",
    "not_granted",
    "invalid",
    "place_lost",
    "unavailable",
];

fn outcome_index<T>(result: &Result<T, ServiceError>) -> usize {
    match result {
        Ok(_) => 0,
        Err(ServiceError::Refused(refusal)) => match refusal {
            Refusal::NotFound => 1,
            Refusal::VersionMismatch => 2,
            Refusal::LeaseExpired => 3,
            Refusal::InUse(_) => 4,
            Refusal::WrongKind => 5,
            Refusal::Superseded => 6,
            Refusal::NotGranted(_) => 7,
            Refusal::NotForSemaphores(_) => 8,
            Refusal::PassedOver | Refusal::QueueFull => 9,
        },
        Err(ServiceError::Unavailable(_)) => 10,
    }
}

/// The handles of one operation, looked up once: a request costs no look-up by labels.
struct Handles {
    outcomes: [OnceLock<Counter>; OUTCOMES.len()],
    duration: Histogram,
}

fn handles() -> &'static [Handles; OPERATIONS.len()] {
    static HANDLES: OnceLock<[Handles; OPERATIONS.len()]> = OnceLock::new();
    HANDLES.get_or_init(|| {
        OPERATIONS.map(|(_, name)| Handles {
            outcomes: std::array::from_fn(|_| OnceLock::new()),
            duration: histogram!("db_locks_request_duration_seconds", "operation" => name),
        })
    })
}

fn record(operation: Operation, outcome: usize, took: Duration) {
    let index = OPERATIONS.iter().position(|(other, _)| *other == operation).unwrap_or(0);
    let handles = &handles()[index];
    let counter = handles.outcomes[outcome].get_or_init(|| {
        counter!(
            "db_locks_requests_total",
            "operation" => OPERATIONS[index].1,
            "outcome" => OUTCOMES[outcome]
        )
    });
    counter.increment(1);
    handles.duration.record(took);
}

/// Runs an operation and counts it. One that is dropped because its caller went away is not counted.
pub(crate) async fn observed<T>(
    operation: Operation,
    work: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    let since = Instant::now();
    let result = work.await;
    record(operation, outcome_index(&result), since.elapsed());
    result
}
