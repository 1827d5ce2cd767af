//! A database whose disk is full: from the first write that was refused until one is accepted again.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectionTrait, DbErr};
use tokio::time::Instant;

use super::{
    Committed, StoreError, Write,
    classify::{Purpose, classify},
    sql_store::SqlStore,
};
use crate::domain::{Body, Data, Key, KeyChange, KeyId, KeyState, Mutex as Lock, RowVersion, Tenant};

/// The pause between two tries.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How much a try writes: as much as a request may.
const TRY_BYTES: usize = 32 << 10;

/// Whether the last write was refused since the disk is full.
#[derive(Debug, Default)]
pub(super) struct Disk {
    is_full: AtomicBool,
    /// The refused write, and when it was last tried to write something. Held only to copy.
    refused: Mutex<Option<(RowVersion, Instant)>>,
}

impl Disk {
    fn refused(&self) -> Option<(RowVersion, Instant)> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, refused: Option<(RowVersion, Instant)>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        self.is_full.store(refused.is_some(), Ordering::Relaxed);
    }

    /// Whether the last write was refused.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Takes note of what became of a batch.
    pub(super) fn note(&self, result: &Result<Committed, StoreError>, first: Option<RowVersion>) {
        match result {
            Err(StoreError::DiskFull(_)) => {
                if let Some(row_version) = first {
                    self.set(Some((row_version, Instant::now())));
                }
            }
            Ok(_) if self.is_full() => self.set(None),
            Ok(_) | Err(_) => {}
        }
    }
}

impl SqlStore {
    /// Whether there is room for writes, as far as they have told; now and then it is tried anew, since nobody may write to a
    /// service that says it is not ready.
    pub(super) async fn check_disk(&self) -> Result<(), StoreError> {
        let Some((row_version, tried)) = self.disk.refused() else { return Ok(()) };
        if tried.elapsed() < TRY_AGAIN {
            return Err(StoreError::DiskFull("a write was refused a moment ago".into()));
        }
        let tried = self.try_to_write(row_version).await.map_err(|error| classify(error, Purpose::Read));
        match tried {
            Ok(()) => self.disk.set(None),
            Err(StoreError::DiskFull(_)) => self.disk.set(Some((row_version, Instant::now()))),
            Err(_) => {}
        }
        tried
    }

    /// Writes something that nobody sees.
    async fn try_to_write(&self, row_version: RowVersion) -> Result<(), DbErr> {
        if self.sqlite.is_some() {
            let writer = self.writer(self.membership_pool()).await?;
            writer.execute_unprepared("PRAGMA user_version = 0").await?;
            return writer.finish().await;
        }
        let transaction = self.begin(self.membership_pool(), &self.membership).await?;
        let written = self.upsert(&transaction, &[trial(row_version)]).await;
        let rollback = written.and(Err::<(), _>(DbErr::RecordNotInserted));
        match transaction.end(rollback).await {
            Err(DbErr::RecordNotInserted) => Ok(()),
            other => other,
        }
    }
}

/// A row that is as large as rows get, and that no database compresses. No other try uses the refused write's row version.
fn trial(row_version: RowVersion) -> Write {
    let id =
        KeyId { tenant: Tenant::trusted("db-locks-trial"), key: Key::trusted(&row_version.0.to_string()) };
    let mut state = KeyState::absent();
    state.body = Body::Mutex(Lock { data: Some(Data::trusted(&noise(row_version))), grant: None });
    Write { prev: None, row_version, change: Box::new(KeyChange::new(id, state)) }
}

/// Text without a pattern.
fn noise(row_version: RowVersion) -> String {
    let (mut state, _) = row_version.0.as_u64_pair();
    let letter = |_| {
        // Knuth's generator: its high bits are good enough for this.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + u8::try_from(state >> 58).unwrap_or_default())
    };
    (0..TRY_BYTES).map(letter).collect()
}
