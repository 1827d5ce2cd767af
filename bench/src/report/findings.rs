//! The numbers of one measurement, by name.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::client::Failures;

/// The meaning of a number. The name contains its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Units of work that ended within the window, a second: pairs, heartbeats, grants.
    PerSecond,
    /// Time of a unit: a pair, a heartbeat, a hand-over from the sending of the release to the next grant's arrival.
    P50Us,
    /// Likewise.
    P99Us,
    /// Likewise.
    P999Us,
    /// Time from the sending of an acquire to its answer.
    AcquireP50Us,
    /// Likewise.
    AcquireP99Us,
    /// Likewise.
    AcquireP999Us,
    /// Time from the sending of a release to its answer.
    ReleaseP50Us,
    /// Likewise.
    ReleaseP99Us,
    /// Likewise.
    ReleaseP999Us,
    /// Time from the answer of a release to the next grant's arrival; 0 where the grant was first.
    AfterAnswerP50Us,
    /// Likewise.
    AfterAnswerP99Us,
    /// Likewise.
    AfterAnswerP999Us,
    /// Processor time of all server processes for a unit of work.
    ServerCpuUs,
    /// Processors that the server processes kept busy.
    ServerCores,
    /// Processors that the service kept busy, its database not counted.
    ServiceCores,
    /// Processors that this program kept busy.
    LoadCores,
    /// The service's resident set.
    ServiceBytes,
    /// Memory of all server processes; shared pages count once.
    MemoryBytes,
    /// The growth of the service's resident set for each waiting request, including its connection.
    BytesPerWaiter,
    /// The time until all waiters were queued.
    QueuedSeconds,
    /// Statements (`MariaDB`) or transactions (`PostgreSQL`) that the database counted, a second.
    StatementsPerSecond,
    /// Round trips to the database that the service counted, a second.
    RoundTripsPerSecond,
    /// Finished rounds of the check of order.
    Rounds,
    /// Rounds in which all waiters were granted in their order.
    OrderedRounds,
    /// The duration of a round.
    RoundSeconds,
}

/// The results of one measurement.
#[derive(Debug, Default, Clone)]
pub(crate) struct Findings {
    /// The numbers.
    pub(crate) measures: BTreeMap<Measure, f64>,
    /// The requests that failed.
    pub(crate) failures: Failures,
}

impl Findings {
    /// Records a number.
    pub(crate) fn set(&mut self, measure: Measure, value: f64) {
        self.measures.insert(measure, value);
    }
}
