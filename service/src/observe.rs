//! Counts requests by operation and outcome, and measures how long they took. The labels come from two fixed lists.

use std::{
    future::Future,
    sync::OnceLock,
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

use crate::{domain::Refusal, service::error::ServiceError, unavailable::Unavailable};

const REQUESTS: &str = "db_locks_requests_total";
const DURATION: &str = "db_locks_request_duration_seconds";

/// The operation that a request asks for.
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

const OUTCOMES: [&str; 15] = [
    "ok",
    "not_found",
    "version_mismatch",
    "lease_expired",
    "in_use",
    "wrong_kind",
    "superseded",
    "not_granted",
    "invalid",
    "queue_full",
    "place_lost",
    "unavailable",
    "revoked",
    "guarded_transaction_open",
    "storage_full",
];

fn outcome_index<T>(result: &Result<T, ServiceError>) -> usize {
    match result {
        Ok(_) => 0,
        Err(ServiceError::Refused { refusal, .. }) => match refusal {
            Refusal::NotFound => 1,
            Refusal::VersionMismatch => 2,
            Refusal::LeaseExpired => 3,
            Refusal::InUse(_) => 4,
            Refusal::WrongKind => 5,
            Refusal::Superseded => 6,
            Refusal::NotGranted(_) => 7,
            Refusal::NotForSemaphores(_) | Refusal::VersionRequired | Refusal::TooLargeToGuard => 8,
            Refusal::QueueFull(_) => 9,
            Refusal::StorageFull => 14,
            Refusal::PlaceLost => 10,
            Refusal::Revoked(_) => 12,
            Refusal::GuardedTransactionOpen { .. } => 13,
        },
        Err(ServiceError::NotGuarded(_)) => 8,
        Err(ServiceError::Unavailable(reason)) => match reason {
            Unavailable::KeyWaiters | Unavailable::TenantWaiters | Unavailable::ProcessWaiters => 9,
            Unavailable::TenantStorage => 14,
            Unavailable::PlaceLost => 10,
            _ => 11,
        },
    }
}

/// The metrics of one operation, looked up once, so that a request looks up no labels.
struct Handles {
    outcomes: [Counter; OUTCOMES.len()],
    duration: Histogram,
}

/// Describes and registers these metrics, so that they exist before the first request.
pub(crate) fn register() {
    describe_counter!(REQUESTS, "Requests to the lock service by operation and outcome");
    describe_histogram!(DURATION, "How long the lock service took, waiting for locks included, by operation");
    handles();
}

fn handles() -> &'static [Handles; OPERATIONS.len()] {
    static HANDLES: OnceLock<[Handles; OPERATIONS.len()]> = OnceLock::new();
    HANDLES.get_or_init(|| {
        OPERATIONS.map(|(_, name)| Handles {
            outcomes: OUTCOMES.map(|outcome| counter!(REQUESTS, "operation" => name, "outcome" => outcome)),
            duration: histogram!(DURATION, "operation" => name),
        })
    })
}

fn record(operation: Operation, outcome: usize, took: Duration) {
    let index = OPERATIONS.iter().position(|(other, _)| *other == operation).unwrap_or(0);
    let handles = &handles()[index];
    handles.outcomes[outcome].increment(1);
    handles.duration.record(took);
}

/// An operation that is being carried out. An operation that is dropped because its caller
/// went away is not counted.
pub(crate) struct Observation {
    operation: Operation,
    since: Instant,
}

impl Observation {
    /// Begins an operation.
    pub(crate) fn begin(operation: Operation) -> Self {
        Self { operation, since: Instant::now() }
    }

    /// Counts the operation.
    pub(crate) fn end<T>(self, result: &Result<T, ServiceError>) {
        record(self.operation, outcome_index(result), self.since.elapsed());
    }
}

/// Runs an operation and counts it.
pub(crate) async fn observed<T>(
    operation: Operation,
    work: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    let observation = Observation::begin(operation);
    let result = work.await;
    observation.end(&result);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Kind;

    fn outcome(error: ServiceError) -> &'static str {
        OUTCOMES[outcome_index::<()>(&Err(error))]
    }

    #[test]
    fn a_lost_place_and_a_full_queue_are_told_from_other_causes_of_a_503() {
        for (reason, counted) in [
            (Unavailable::PlaceLost, "place_lost"),
            (Unavailable::KeyWaiters, "queue_full"),
            (Unavailable::TenantWaiters, "queue_full"),
            (Unavailable::DatabaseOutOfReach, "unavailable"),
        ] {
            assert_eq!(outcome(ServiceError::Unavailable(reason)), counted);
        }
        let refused = ServiceError::Refused { refusal: Refusal::NotFound, asked: Kind::Mutex };
        assert_eq!(outcome(refused), "not_found");
    }
}
