//! Refuses writes to a schema that this program does not know, and to a SQLite file that is no longer at its path.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{StoreError, sqlite::FileWatch};

/// A gate that every write passes.
#[derive(Debug, Default)]
pub(super) struct WriteGate {
    /// Whether `schema` is set. Relaxed ordering is enough: a write that runs when this is set could have run before.
    is_closed: AtomicBool,
    /// Why the schema cannot be used. Locked only while the text is copied.
    schema: Mutex<Option<String>>,
    /// The SQLite file.
    file: Option<FileWatch>,
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
        match &*self.schema.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(cause) => Err(StoreError::Schema(cause.clone())),
            None => Ok(()),
        }
    }

    /// Fails if the file at the path is not the one that was opened.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        self.file.as_ref().map_or(Ok(()), |file| file.check().map_err(StoreError::FileReplaced))
    }

    /// Records the result of a check of the schema. A check that failed for another reason changes nothing.
    pub(super) fn note(&self, checked: &Result<(), StoreError>) {
        let cause = match checked {
            Ok(()) => None,
            Err(StoreError::Schema(cause)) => Some(cause.clone()),
            Err(_) => return,
        };
        self.is_closed.store(cause.is_some(), Ordering::Relaxed);
        *self.schema.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards invariant 1: a database that is away for a moment does not open the gate to a schema that is not known.
    #[test]
    fn only_a_check_that_finds_a_known_schema_reopens_the_gate() {
        let gate = WriteGate::default();
        assert!(gate.pass().is_ok());
        gate.note(&Err(StoreError::Schema("newer".to_owned())));
        assert!(matches!(gate.pass(), Err(StoreError::Schema(_))));
        gate.note(&Err(StoreError::Unreachable("away".into())));
        assert!(matches!(gate.pass(), Err(StoreError::Schema(_))));
        gate.note(&Ok(()));
        assert!(gate.pass().is_ok());
    }
}
