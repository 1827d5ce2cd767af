//! Remembers that the database's disk is full: from the first refused write until a write succeeds.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{StoreError, Write};
use crate::domain::{Body, Data, Key, KeyChange, KeyId, KeyState, Mutex as Lock, RowVersion, Tenant};

/// The pause between two trial writes.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// The size of a trial write: as much as a request may store.
const TRIAL_BYTES: usize = 32 << 10;

/// The row version of a write that was refused because the disk was full, and the time of the last try.
pub(super) type RefusedWrite = (RowVersion, Instant);

/// Whether the last write was refused because the disk was full.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Whether `refused` is set. Commits read this flag instead of locking the mutex.
    is_full: AtomicBool,
    /// Never locked across an await.
    refused: Mutex<Option<RefusedWrite>>,
}

impl Disk {
    /// The write to try again now; `None` if the disk is not full. Fails if one is being tried, or was a moment ago: a trial keeps
    /// others from writing, also if it fails for another reason.
    pub(super) fn to_try(&self) -> Result<Option<RowVersion>, StoreError> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((row_version, tried)) = &mut *refused else { return Ok(None) };
        if tried.elapsed() < TRY_AGAIN {
            return Err(StoreError::DiskFull("a write was refused a moment ago".into()));
        }
        *tried = Instant::now();
        Ok(Some(*row_version))
    }

    /// Records the result of a batch or of a trial write. `first` is the row version of the first write.
    pub(super) fn note<T>(&self, result: &Result<T, StoreError>, first: Option<RowVersion>) {
        match (result, first) {
            (Err(StoreError::DiskFull(_)), Some(row_version)) => {
                self.set(Some((row_version, Instant::now())));
            }
            (Ok(_), _) if self.is_full.load(Ordering::Relaxed) => self.set(None),
            _ => {}
        }
    }

    fn set(&self, refused: Option<RefusedWrite>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        self.is_full.store(refused.is_some(), Ordering::Relaxed);
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
        let disk = Disk::default();
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
}
