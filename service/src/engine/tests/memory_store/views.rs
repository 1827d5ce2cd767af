//! What loads and searches read of the database in memory.

use std::sync::atomic::Ordering;

use super::MemoryStore;
use crate::{
    domain::{Body, BusyCount, KeyId, KeyState, Permit, Permits, Place, ReplicaId},
    store::{LoadRequest, NotLoaded, Unreadable},
};

impl MemoryStore {
    /// The state of a key as a load returns it.
    pub(super) fn read(&self, load_request: &LoadRequest) -> Result<KeyState, NotLoaded> {
        if self.tables().corrupt.contains(&load_request.id) {
            return Err(Unreadable("corrupt".into()).into());
        }
        let waiters = self.row(&load_request.id).queue.head.len();
        if waiters > load_request.kind.most_rows() {
            return Err(NotLoaded::IsLong);
        }
        Ok(self.view(load_request))
    }

    /// The view of a key that a server would read. Its rows are counted.
    pub(super) fn view(&self, load_request: &LoadRequest) -> KeyState {
        let mut state = self.row(&load_request.id);
        let mut rows = 1;
        let behind = state.queue.head.split_off(load_request.queue_prefix.min(state.queue.head.len()));
        let of_replica = |place: &Place| matches!(place, Place::Attached { replica, .. } if Some(*replica) == load_request.waiters_of);
        let mut theirs = 0;
        for (index, waiter) in behind.into_iter().enumerate() {
            let is_theirs = of_replica(&waiter.place) && theirs < LoadRequest::REAPED_AT_ONCE;
            theirs += usize::from(is_theirs);
            if is_theirs || load_request.versions.binary_search(&waiter.holder.version).is_ok() {
                let before =
                    i64::try_from(load_request.queue_prefix + index).ok().filter(|_| load_request.positions);
                state.queue.named.push((waiter, before));
            }
        }
        state.queue.asked.clone_from(&load_request.versions);
        state.queue.leave_data_unread(&load_request.data_of);
        rows += state.queue.head.len() + state.queue.named.len();
        if load_request.positions && !state.queue.named.is_empty() {
            self.counted_queues.fetch_add(1, Ordering::Relaxed);
        }
        if let Body::Semaphore(semaphore) = &mut state.body {
            let all = semaphore.permits.known.len();
            if load_request.counts_permits || semaphore.permits.slots > semaphore.max_size {
                let now = self.clock();
                let is_out = |permit: &&Permit| !permit.grant.released && permit.grant.expires_at > now;
                let busy = i32::try_from(semaphore.permits.known.iter().filter(is_out).count()).unwrap();
                semaphore.permits.busy_counted = Some(BusyCount { busy, at: now });
                rows += all;
            }
            view_permits(&mut semaphore.permits, load_request);
            rows += semaphore.permits.known.len();
        }
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        state
    }

    /// All permits.
    pub(super) fn permits(&self) -> Vec<(KeyId, Permit)> {
        let tables = self.tables();
        let of_key = |(id, state): (&KeyId, &KeyState)| match &state.body {
            Body::Semaphore(semaphore) => {
                semaphore.permits.known.iter().map(|permit| (id.clone(), permit.clone())).collect()
            }
            Body::Absent | Body::Mutex(_) => Vec::new(),
        };
        tables.keys.iter().flat_map(of_key).collect()
    }

    pub(super) fn waiters_of(&self, me: ReplicaId) -> Vec<(KeyId, crate::domain::Waiter)> {
        let of_me = |place: &Place| matches!(place, Place::Attached { replica, .. } if *replica == me);
        let tables = self.tables();
        let all = tables
            .keys
            .iter()
            .flat_map(|(id, state)| state.queue.head.iter().map(move |waiter| (id, waiter)));
        all.filter(|(_, waiter)| of_me(&waiter.place))
            .map(|(id, waiter)| (id.clone(), waiter.clone()))
            .collect()
    }
}

/// Keeps the permits that end first and those looked up by version.
fn view_permits(permits: &mut Permits, load_request: &LoadRequest) {
    permits.asked.clone_from(&load_request.versions);
    permits.known.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
    if permits.known.len() < load_request.permits {
        return;
    }
    let all = permits.known.clone();
    let behind = permits.known.split_off(load_request.permits);
    permits.unknown_from = permits.known.last().map(|permit| permit.grant.expires_at);
    let is_named = |permit: &Permit| load_request.versions.binary_search(&permit.grant.version).is_ok();
    permits.known.extend(behind.into_iter().filter(is_named));
    if load_request.latest_chosen {
        permits.add_latest_chosen(&all);
    }
}
