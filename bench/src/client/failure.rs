//! The failures of requests, and their counts.

use std::{collections::BTreeMap, io};

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection broke.
    #[error("the connection broke ({})", .0.kind())]
    Io(#[from] io::Error),
    /// The peer answered something that is not in its protocol, or not in the part of it that is used here.
    #[error("{0}: an answer that is not understood")]
    Malformed(&'static str),
    /// An HTTP status other than the one that means success.
    #[error("{call} answered {status}")]
    Status {
        /// The request.
        call: &'static str,
        /// The answer.
        status: u16,
    },
    /// The peer refused the request in a valid answer.
    #[error("{0} was refused")]
    Refused(&'static str),
    /// A database or gRPC client reported an error.
    #[error("{call}: {detail}")]
    Driver {
        /// The request.
        call: &'static str,
        /// The message of the driver.
        detail: String,
    },
    /// The peer has no such call.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The request was not answered in the time that the measurement allows after its end.
    #[error("no answer long after the end")]
    Stuck,
}

impl Failure {
    /// Converts a driver's error.
    pub(crate) fn driver(call: &'static str, error: &dyn std::error::Error) -> Self {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Self::Driver { call, detail: format!("{error}{source}") }
    }

    /// Whether the connection cannot be used any more.
    pub(crate) fn breaks(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Malformed(_) | Self::Driver { .. })
    }
}

/// Failures, counted by what they say.
#[derive(Debug, Default, Clone)]
pub(crate) struct Failures(BTreeMap<String, u64>);

impl Failures {
    /// Counts one.
    pub(crate) fn add(&mut self, failure: &Failure) {
        self.add_times(failure.to_string(), 1);
    }

    /// Counts a number of failures of one kind; 0 leaves no entry.
    pub(crate) fn add_times(&mut self, what: String, times: u64) {
        if times > 0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// Adds the counts of another one.
    pub(crate) fn merge(&mut self, other: Self) {
        for (what, times) in other.0 {
            self.add_times(what, times);
        }
    }

    /// The total number.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The kinds with their counts.
    pub(crate) fn into_map(self) -> BTreeMap<String, u64> {
        self.0
    }
}
