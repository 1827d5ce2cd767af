//! The task that sends one commit. If a row was locked, it finds out which ones.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Shared,
    message::{CommitDone, FoundBlocked, Message},
};
use crate::{
    domain::{GuardBusy, KeyId},
    store::{Committed, StoreError, Write},
};

/// How a commit is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommitMode {
    /// The commit is sent at once.
    Plain,
    /// The commit is sent after a check for locked rows.
    Checked,
    /// A single change that needs a guard row is sent at once. If the row is locked, the session that keeps it locked
    /// is searched for.
    Guarded { thoroughly: bool },
    /// The commit is sent after a check for locked rows, and at most a few at a time in this replica: it may have to
    /// wait for a lock.
    Blocked,
}

/// Sends the writes of a commit. Returns the message with the result.
pub(super) async fn run(shared: Arc<Shared>, number: u64, writes: Vec<Write>, mode: CommitMode) -> Message {
    // The semaphore is never closed. `None` if the commit does not have to wait for other commits.
    let _permit = match mode {
        CommitMode::Blocked => shared.blocked_commits.acquire().await.ok(),
        CommitMode::Plain | CommitMode::Checked | CommitMode::Guarded { .. } => None,
    };
    let sent = Instant::now();
    let writes = Arc::new(writes);
    let (result, blocked) = send(&shared, &writes, mode).await;
    // The store keeps a clone only after a timeout.
    let writes = Arc::unwrap_or_clone(writes);
    let done = CommitDone { number, writes, result, blocked, sent, received: Instant::now() };
    Message::Committed(Box::new(done))
}

/// Sends the writes. The second value has details if a row was blocked.
async fn send(
    shared: &Shared,
    writes: &Arc<Vec<Write>>,
    mode: CommitMode,
) -> (Result<Committed, StoreError>, FoundBlocked) {
    if matches!(mode, CommitMode::Checked | CommitMode::Blocked) {
        match find_blocked(shared, writes).await {
            Ok(keys) if keys.is_empty() => {}
            Ok(keys) => {
                let error = StoreError::Blocked("the row is locked".into());
                return (Err(error), FoundBlocked { keys, ..FoundBlocked::default() });
            }
            Err(error) => return (Err(error), FoundBlocked::default()),
        }
    }
    let result = shared.store.commit(Arc::clone(writes)).await;
    let mut blocked = FoundBlocked::default();
    if matches!(result, Err(StoreError::Blocked(_))) {
        blocked.waited = true;
        if writes.len() > 1 {
            // If the check fails, no key is known to be blocked.
            blocked.keys = find_blocked(shared, writes).await.unwrap_or_default();
        }
    }
    if let Err(StoreError::GuardOpen(slots)) = &result
        && let (Some(write), Some(slot)) = (writes.first(), slots.first())
    {
        let thoroughly = mode == CommitMode::Guarded { thoroughly: true };
        let session = shared.store.guarding_session(&write.change.id, *slot, thoroughly).await;
        blocked.guard = GuardBusy { session: session.map(Into::into), ..GuardBusy::default() };
    }
    (result, blocked)
}

/// The keys of these writes whose rows are blocked: another session keeps them locked.
async fn find_blocked(shared: &Shared, writes: &[Write]) -> Result<Vec<KeyId>, StoreError> {
    let known = writes.iter().filter(|write| write.prev.is_some());
    let ids: Vec<_> = known.map(|write| write.change.id.clone()).collect();
    if ids.is_empty() { Ok(Vec::new()) } else { shared.store.find_blocked(&ids).await }
}
