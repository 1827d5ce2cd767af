//! Remembers that the database's disk takes no writes: from the first write that failed until one succeeds. Of a server this is known only
//! if the disk is full. Of a SQLite file any error of the disk shows, and a batch that takes too long.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{StoreError, Write, dialect::Dialect};
use crate::domain::{Body, Data, Key, KeyChange, KeyId, KeyState, Mutex as Lock, RowVersion, Tenant};

/// The pause between two trial writes.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// The size of a trial write: as much as a request may store.
const TRIAL_BYTES: usize = 32 << 10;

/// A write that failed because of the disk.
#[derive(Debug, Clone, Copy)]
struct FailedWrite {
    row_version: RowVersion,
    is_full: bool,
    /// When it, or a trial after it, was made.
    tried: Instant,
}

/// Whether the last write failed because of the disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// Whether the database is a file that this process writes.
    is_file: bool,
    /// Whether `failed` is set. Commits read this flag instead of locking the mutex.
    has_failed: AtomicBool,
    /// Never locked across an await.
    failed: Mutex<Option<FailedWrite>>,
}

impl Disk {
    /// The disk of a database, which takes writes as far as is known.
    pub(super) fn of(dialect: Dialect) -> Self {
        Self {
            is_file: dialect == Dialect::Sqlite,
            has_failed: AtomicBool::new(false),
            failed: Mutex::default(),
        }
    }

    /// The write to try again now; `None` if the last write succeeded. Fails if one is being tried, or was a moment ago: a trial keeps
    /// others from writing, also if it fails for another reason.
    pub(super) fn to_try(&self) -> Result<Option<RowVersion>, StoreError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(write) = &mut *failed else { return Ok(None) };
        if write.tried.elapsed() < TRY_AGAIN {
            let cause = "a write failed a moment ago".into();
            return Err(if write.is_full {
                StoreError::DiskFull(cause)
            } else {
                StoreError::Unreachable(cause)
            });
        }
        write.tried = Instant::now();
        Ok(Some(write.row_version))
    }

    /// Records the result of a batch or of a trial write. `first` is the row version of the first write.
    pub(super) fn note<T>(&self, result: &Result<T, StoreError>, first: Option<RowVersion>) {
        match (result, first) {
            (Err(error), Some(row_version)) if self.is_of_disk(error) => {
                let is_full = matches!(error, StoreError::DiskFull(_));
                self.set(Some(FailedWrite { row_version, is_full, tried: Instant::now() }));
            }
            (Ok(_), _) if self.has_failed.load(Ordering::Relaxed) => self.set(None),
            _ => {}
        }
    }

    const fn is_of_disk(&self, error: &StoreError) -> bool {
        match error {
            StoreError::DiskFull(_) => true,
            StoreError::Unreachable(_) | StoreError::Unknown(_) | StoreError::ReadOnly(_) => self.is_file,
            _ => false,
        }
    }

    fn set(&self, failed: Option<FailedWrite>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        self.has_failed.store(failed.is_some(), Ordering::Relaxed);
    }
}

/// A trial write of a row of the largest size, with text that no database compresses. Its key is made of the refused
/// write's row version, so two replicas never try the same row.
pub(super) fn trial(row_version: RowVersion) -> Write {
    let id =
        KeyId { tenant: Tenant::trusted("db-locks-trial"), key: Key::trusted(&row_version.0.to_string()) };
    let mut state = KeyState::absent();
    state.body =
        Body::Mutex(Lock { data: Some(Data::trusted(&incompressible_text(row_version))), ..Lock::default() });
    Write { prev: None, row_version, change: Box::new(KeyChange::new(id, state)) }
}

/// Text without a pattern.
fn incompressible_text(row_version: RowVersion) -> String {
    let (mut state, _) = row_version.0.as_u64_pair();
    let letter = |_| {
        // Knuth's linear congruential generator; its high bits are random enough for this.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + u8::try_from(state >> 58).unwrap_or_default())
    };
    (0..TRIAL_BYTES).map(letter).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// On SQLite a trial keeps all batches waiting, and anybody may ask whether the service is ready.
    #[tokio::test(start_paused = true)]
    async fn a_write_is_tried_once_a_second_whatever_its_result() {
        let disk = Disk::of(Dialect::Postgres);
        let row_version = RowVersion(Uuid::from_u128(7));
        assert_eq!(disk.to_try().unwrap(), None);
        disk.note(&Err::<(), _>(StoreError::DiskFull("full".into())), Some(row_version));
        for _ in 0..3 {
            assert!(matches!(disk.to_try(), Err(StoreError::DiskFull(_))));
            tokio::time::advance(TRY_AGAIN).await;
            assert_eq!(disk.to_try().unwrap(), Some(row_version));
            assert!(matches!(disk.to_try(), Err(StoreError::DiskFull(_))), "another check tries it");
            disk.note(&Err::<(), _>(StoreError::Transient("busy".into())), Some(row_version));
        }
        disk.note(&Ok(()), None);
        assert_eq!(disk.to_try().unwrap(), None);
    }

    #[test]
    fn any_error_of_the_disk_of_a_file_is_remembered_and_of_a_server_only_that_it_is_full() {
        type Error = fn(Box<dyn std::error::Error + Send + Sync>) -> StoreError;
        let errors: [(Error, [bool; 2]); 5] = [
            (StoreError::DiskFull, [true, true]),
            (StoreError::Unreachable, [true, false]),
            (StoreError::Unknown, [true, false]),
            (StoreError::ReadOnly, [true, false]),
            (StoreError::Rejected, [false, false]),
        ];
        for (error, is_remembered) in errors {
            let is_noted = |dialect| {
                let disk = Disk::of(dialect);
                disk.note(&Err::<(), _>(error("failed".into())), Some(RowVersion(Uuid::nil())));
                disk.to_try().is_err()
            };
            assert_eq!(
                [Dialect::Sqlite, Dialect::MariaDb].map(is_noted),
                is_remembered,
                "{:?}",
                error("".into())
            );
        }
    }
}
