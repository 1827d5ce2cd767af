//! Faults of the database in memory.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{MemoryStore, tables::Late};
use crate::store::{Committed, StoreError, Write};

/// The time after which a missing answer is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The time after which a connection attempt is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a commit waits for a locked row.
const LOCK_TIMEOUT: Duration = Duration::from_millis(400);

/// A fault of the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Fault {
    /// The commit is applied, and its answer is lost.
    AppliedUnknown,
    /// The commit is not applied, and its answer is lost.
    LostUnknown,
    /// The commit is applied at once, and the loss of its answer is noticed only after this time.
    AppliedSilent(Duration),
    /// The commit is not applied, and the loss of its answer is noticed only after this time.
    LostSilent(Duration),
    /// The commit is stuck with its row locked: no answer comes in time, and it is applied after this time, if its
    /// condition holds.
    Stuck(Duration),
    /// The commit is delayed on its way, like `Stuck` but without a lock.
    Astray(Duration),
    /// The database refuses this commit.
    Refused,
    /// The database asks to try again.
    Transient,
    /// The database refuses every batch that writes this key.
    Poisoned(&'static str),
}

impl MemoryStore {
    /// Makes a connection, if one can be made.
    pub(super) async fn reach(&self) -> Result<(), StoreError> {
        if self.is_black_hole.load(Ordering::Relaxed) {
            tokio::time::sleep(CONNECT_TIMEOUT).await;
            return Err(StoreError::Unreachable("no route".into()));
        }
        if self.away.load(Ordering::Relaxed) { Err(StoreError::Unreachable("away".into())) } else { Ok(()) }
    }

    /// Commits, unless a test has ordered a fault.
    pub(super) async fn meet_fault(&self, writes: Arc<Vec<Write>>) -> Result<Committed, StoreError> {
        let fault = self.tables().faults.pop_front();
        match fault {
            Some(Fault::Stuck(after)) => return Err(self.lose_sight(writes, after, true).await),
            Some(Fault::Astray(after)) => return Err(self.lose_sight(writes, after, false).await),
            _ => self.lock_rows(&writes).await?,
        }
        let writes = writes.as_slice();
        match fault {
            Some(Fault::AppliedUnknown) => {
                self.apply(writes);
                Err(StoreError::Unknown("the answer is lost".into()))
            }
            Some(Fault::LostUnknown) => Err(StoreError::Unknown("the statement is lost".into())),
            Some(Fault::AppliedSilent(after)) => {
                self.apply(writes);
                tokio::time::sleep(after).await;
                Err(StoreError::Unknown("the answer is lost".into()))
            }
            Some(Fault::LostSilent(after)) => {
                tokio::time::sleep(after).await;
                Err(StoreError::Unknown("the statement is lost".into()))
            }
            Some(Fault::Refused) => Err(StoreError::Rejected("refused".into())),
            Some(Fault::Transient) => Err(StoreError::Transient("deadlock".into())),
            Some(Fault::Poisoned(key)) => {
                if writes.iter().any(|write| write.change.id.key.as_str() == key) {
                    self.fail_next(Fault::Poisoned(key));
                    return Err(StoreError::Rejected("poisoned".into()));
                }
                self.fail_next(Fault::Poisoned(key));
                Ok(self.apply(writes))
            }
            Some(Fault::Stuck(_) | Fault::Astray(_)) | None => Ok(self.apply(writes)),
        }
    }

    /// Waits for the locks that a commit needs, at most as long as a server does.
    async fn lock_rows(&self, writes: &[Write]) -> Result<(), StoreError> {
        let given_up = Instant::now() + LOCK_TIMEOUT;
        let Some(until) = self.tables().locked_until(writes) else { return Ok(()) };
        tokio::time::sleep_until(until.min(given_up)).await;
        if until > given_up { Err(StoreError::Blocked("lock timeout".into())) } else { Ok(()) }
    }

    /// Fails after the timeout while the database is frozen.
    pub(super) async fn thaw(&self) -> Result<(), StoreError> {
        if self.is_frozen.load(Ordering::Relaxed) {
            tokio::time::sleep(ANSWER_TIMEOUT).await;
            return Err(StoreError::Unknown("no answer in time".into()));
        }
        Ok(())
    }

    /// Gives up a commit that is applied later.
    async fn lose_sight(&self, writes: Arc<Vec<Write>>, after: Duration, locks_rows: bool) -> StoreError {
        let at = Instant::now() + after;
        self.tables().late.push(Late { at, writes, locks_rows });
        tokio::time::sleep(ANSWER_TIMEOUT).await;
        StoreError::Unknown("no answer in time".into())
    }
}
