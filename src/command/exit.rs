//! Exit codes, and what is said on standard error.

use std::{io::Write, process::ExitCode};

use db_locks::LockError;

use crate::printable::printable;

/// The command line or the request is wrong: `EX_USAGE` of `sysexits.h`, which also has the next four.
pub(crate) const USAGE: u8 = 64;
/// The service is out of reach or answers 503: `EX_UNAVAILABLE`.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Others hold the lock: `EX_TEMPFAIL`.
pub(super) const NOT_GRANTED: u8 = 75;
/// The lock was lost: `EX_PROTOCOL`.
pub(super) const LOST: u8 = 76;
/// The credentials are missing or do not allow this: `EX_NOPERM`.
pub(super) const DENIED: u8 = 77;
/// The command was found but cannot be executed, or it was not found: the same codes as in shells.
pub(super) const NOT_EXECUTABLE: u8 = 126;
pub(super) const NOT_FOUND: u8 = 127;
/// The number that shells add to the number of the signal that ended a command.
pub(super) const SIGNALLED: u8 = 128;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
    #[error("cannot write the answer: {0}")]
    Json(#[from] serde_json::Error),
}

impl Failure {
    /// The exit code by which scripts recognise this failure.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Lock(LockError::NotGranted(_)) => NOT_GRANTED,
            Self::Lock(LockError::Lost(_)) => LOST,
            Self::Lock(LockError::AccessDenied(_)) => DENIED,
            Self::Lock(
                LockError::Unavailable { .. }
                | LockError::Unreachable(_)
                | LockError::EngineFailed(_)
                | LockError::InvalidAnswer(_),
            ) => UNAVAILABLE,
            Self::Lock(LockError::Validation(_)) => USAGE,
            _ => 1,
        }
    }

    /// Prints what went wrong. Returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        say(self);
        ExitCode::from(self.code())
    }
}

/// Prints a line for people. It may contain owners and reasons of other callers.
pub(super) fn say(line: impl std::fmt::Display) {
    // If standard error is closed, only the exit code matters.
    let _ = writeln!(std::io::stderr(), "db-locks: {}", printable(&line.to_string()));
}
