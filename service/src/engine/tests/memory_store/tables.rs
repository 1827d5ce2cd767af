//! What it holds.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use super::Fault;
use crate::{
    domain::{KeyId, KeyState, ReplicaId, Token},
    store::Write,
};

#[derive(Default)]
pub(super) struct Tables {
    pub(super) keys: BTreeMap<KeyId, KeyState>,
    pub(super) replicas: BTreeMap<ReplicaId, i64>,
    /// Keys that cannot be read.
    pub(super) corrupt: BTreeSet<KeyId>,
    /// Who sweeps; its lease lasts until it gives it back.
    pub(super) sweeper: Option<ReplicaId>,
    pub(super) faults: VecDeque<Fault>,
    /// Commits that were given up by whoever sent them, and are applied when their time has come.
    pub(super) late: Vec<Late>,
}

/// A commit that is applied later.
pub(super) struct Late {
    pub(super) at: Instant,
    pub(super) writes: Arc<Vec<Write>>,
    pub(super) locks_rows: bool,
}

impl Tables {
    /// Applies each write whose row still bears the stamp it was decided on.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Vec<Option<Token>> {
        writes.iter().map(|write| self.apply_one(write)).collect()
    }

    fn apply_one(&mut self, write: &Write) -> Option<Token> {
        let id = &write.working.id;
        if self.keys.get(id).and_then(|state| state.stamp) != write.prev {
            return None;
        }
        let mut state = write.working.state.clone();
        assert!(state.queue.is_complete(), "this store keeps whole queues");
        state.stamp = Some(write.stamp);
        state.queue.trim(usize::MAX);
        let token = state.token;
        self.keys.insert(id.clone(), state);
        Some(token)
    }

    /// Applies the late commits that are due.
    pub(super) fn catch_up(&mut self) {
        let now = Instant::now();
        while let Some(index) = self.late.iter().position(|late| late.at <= now) {
            let late = self.late.remove(index);
            self.apply(&late.writes);
        }
    }

    /// Until when a row that one of these writes needs is locked.
    pub(super) fn locked_until(&self, writes: &[Write]) -> Option<Instant> {
        let meets = |late: &&Late| {
            let ids = || writes.iter().map(|write| &write.working.id);
            late.locks_rows && late.writes.iter().any(|write| ids().any(|id| *id == write.working.id))
        };
        self.late.iter().filter(meets).map(|late| late.at).max()
    }
}
