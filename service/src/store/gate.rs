//! Refuses writes to a schema that this program does not know, and to a SQLite file that is no longer at its path.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use super::{StoreError, sqlite::FileWatch};

/// A gate that every write passes.
#[derive(Debug, Default)]
pub(super) struct WriteGate {
    /// Whether the last check found a schema that cannot be used. Relaxed ordering is enough: a write that runs when this is set
    /// could have run before.
    is_closed: AtomicBool,
    /// The last check of the schema. Never locked across an await.
    schema: Mutex<LastCheck>,
    /// The SQLite file.
    file: Option<FileWatch>,
}

/// The last check of the schema that found out something.
#[derive(Debug, Default)]
struct LastCheck {
    /// When it began.
    began: Option<Instant>,
    /// Why the schema cannot be used.
    cause: Option<String>,
}

impl WriteGate {
    /// An open gate. It stays open as long as the file, if there is one, is still at its path.
    pub(super) fn new(file: Option<FileWatch>) -> Self {
        Self { file, ..Self::default() }
    }

    /// Fails if nothing may be written.
    pub(super) fn pass(&self) -> Result<(), StoreError> {
        self.check_file()?;
        if !self.is_closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        match &self.schema.lock().unwrap_or_else(PoisonError::into_inner).cause {
            Some(cause) => Err(StoreError::Schema(cause.clone())),
            None => Ok(()),
        }
    }

    /// Fails if the file at the path is not the one that was opened.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        self.file.as_ref().map_or(Ok(()), |file| file.check().map_err(StoreError::FileReplaced))
    }

    /// Records the result of a check of the schema that began at this time. A check that failed for another reason changes
    /// nothing, nor does one that began before a check that was recorded already: requests and the engine check independently.
    pub(super) fn note(&self, began: Instant, checked: &Result<(), StoreError>) {
        let cause = match checked {
            Ok(()) => None,
            Err(StoreError::Schema(cause)) => Some(cause.clone()),
            Err(_) => return,
        };
        let mut last = self.schema.lock().unwrap_or_else(PoisonError::into_inner);
        if last.began.is_none_or(|last| last <= began) {
            self.is_closed.store(cause.is_some(), Ordering::Relaxed);
            *last = LastCheck { began: Some(began), cause };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards invariant 1: a database that is away for a moment does not open the gate to a schema that is not known.
    #[test]
    fn only_a_check_that_finds_a_known_schema_reopens_the_gate() {
        let gate = WriteGate::default();
        let now = Instant::now();
        assert!(gate.pass().is_ok());
        gate.note(now, &Err(StoreError::Schema("newer".to_owned())));
        assert!(matches!(gate.pass(), Err(StoreError::Schema(_))));
        gate.note(now, &Err(StoreError::Unreachable("away".into())));
        assert!(matches!(gate.pass(), Err(StoreError::Schema(_))));
        gate.note(now, &Ok(()));
        assert!(gate.pass().is_ok());
    }

    /// Guards invariant 1: a check that a request began before a migration may end after the one that noticed the migration.
    #[test]
    fn a_check_that_began_earlier_does_not_reopen_the_gate() {
        let gate = WriteGate::default();
        let early = Instant::now();
        let late = early + std::time::Duration::from_nanos(1);
        gate.note(late, &Err(StoreError::Schema("newer".to_owned())));
        gate.note(early, &Ok(()));
        assert!(matches!(gate.pass(), Err(StoreError::Schema(_))));
        gate.note(late, &Ok(()));
        assert!(gate.pass().is_ok());
    }
}
