//! Kinds of work for the database, each with its metrics and its time limit.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use sea_orm::DbErr;
use tokio::time::{Instant, timeout};

use super::{
    StoreError,
    classify::{Purpose, classify, timed_out},
};

/// The longest time that an operation may take, including the wait for a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const ROUND_TRIPS: &str = "db_locks_database_round_trips_total";
const DURATION: &str = "db_locks_database_duration_seconds";
const ERRORS: &str = "db_locks_database_errors_total";

/// A kind of work, with its metrics.
pub(super) struct Operation {
    name: &'static str,
    pub(super) round_trips: Counter,
    duration: Histogram,
    errors: [(&'static str, Counter); StoreError::KINDS.len()],
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Operation {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            round_trips: counter!(ROUND_TRIPS, "operation" => name),
            duration: histogram!(DURATION, "operation" => name),
            errors: StoreError::KINDS
                .map(|kind| (kind, counter!(ERRORS, "operation" => name, "kind" => kind))),
        }
    }

    /// Describes the metrics of all operations.
    pub(super) fn describe() {
        describe_counter!(ROUND_TRIPS, "Statements sent to the database, by operation");
        describe_histogram!(
            DURATION,
            "How long the database took, including the wait for a connection, by operation"
        );
        describe_counter!(ERRORS, "Errors of the database, by operation and kind of error");
    }

    /// Runs `work` within the time limit, classifies its error, and counts its duration and its failure.
    pub(super) async fn run<T>(
        &self,
        purpose: Purpose,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, StoreError> {
        let classified = async { work.await.map_err(|error| classify(error, purpose)) };
        self.run_classified(purpose, classified).await
    }

    /// [`Self::run`] for work whose errors are classified already.
    pub(super) async fn run_classified<T>(
        &self,
        purpose: Purpose,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        let result = timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| Err(timed_out(purpose)));
        self.duration.record(since.elapsed());
        if let Err(error) = &result {
            let kind = error.kind();
            match self.errors.iter().find(|(of, _)| *of == kind) {
                Some((_, errors)) => errors.increment(1),
                None => counter!(ERRORS, "operation" => self.name, "kind" => kind).increment(1),
            }
        }
        result
    }
}
