//! The loads of a shard that are under way, and the key tasks that wait for one.

use super::room;
use crate::{
    SeededSet,
    domain::{KeyId, Tenant},
    engine::key_task::KeyTask,
    store::{LoadKind, LoadRequest, Unreadable},
    turns::Turns,
};

/// The maximum number of keys of a load.
const MOST_LOADED: usize = 256;

/// The maximum number of keys of a long or very long load.
const MOST_LONG: usize = 8;

/// The number of unreadable keys after which their causes are logged again.
const MOST_LOGGED: usize = 1_000;

/// The key tasks that wait for a load, and those of the loads under way. In each line the tenants take turns.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// Tasks with urgent commands, kept apart so that a heartbeat does not wait behind thousands of acquires.
    urgent: Turns<Tenant, KeyTask>,
    /// The other tasks.
    others: Turns<Tenant, KeyTask>,
    /// Tasks of keys with many permits or waiters.
    long: Turns<Tenant, KeyTask>,
    /// Tasks of keys with very many permits.
    very_long: Turns<Tenant, KeyTask>,
    /// Tasks that wait until this replica is registered, so that the other replicas know it.
    without_membership: Vec<KeyTask>,
    /// Whether the last short load began with urgent tasks. Loads alternate, since the first key of a load is read even
    /// if it fills the load.
    began_with_urgent: bool,
    /// The tasks of the load under way of each kind, if there is one.
    under_way: [Option<Vec<KeyTask>>; LoadKind::ALL.len()],
    /// Unreadable keys whose cause was logged.
    unreadable: SeededSet<KeyId>,
}

impl Loads {
    /// Queues a task for a load.
    pub(super) fn push(&mut self, key_task: KeyTask) {
        let tenant = key_task.id.tenant.clone();
        self.line_of(&key_task).push_back(&tenant, key_task);
    }

    /// Queues tasks for the next load, before those of their tenants that wait already.
    pub(super) fn push_first(&mut self, key_tasks: Vec<KeyTask>) {
        for key_task in key_tasks.into_iter().rev() {
            let tenant = key_task.id.tenant.clone();
            self.line_of(&key_task).put_back(&tenant, key_task);
        }
    }

    fn line_of(&mut self, key_task: &KeyTask) -> &mut Turns<Tenant, KeyTask> {
        match key_task.load_kind {
            LoadKind::Long => &mut self.long,
            LoadKind::VeryLong => &mut self.very_long,
            LoadKind::Short if key_task.is_urgent() => &mut self.urgent,
            LoadKind::Short => &mut self.others,
        }
    }

    /// Queues a task for a load once this replica is registered.
    pub(super) fn push_without_membership(&mut self, key_task: KeyTask) {
        self.without_membership.push(key_task);
    }

    /// Notes that this replica is registered.
    pub(super) fn on_registered(&mut self) {
        for key_task in std::mem::take(&mut self.without_membership) {
            self.push(key_task);
        }
    }

    /// Whether the tasks of so many loads that are not urgent wait, and the tenant has its share of them.
    pub(super) fn are_full_of_others(&self, tenant: &Tenant, loads: usize) -> bool {
        self.others.is_full_for(tenant, loads * MOST_LOADED)
    }

    /// Whether the urgent tasks of so many loads wait, and the tenant has its share of them.
    pub(super) fn are_full_of_urgent(&self, tenant: &Tenant, loads: usize) -> bool {
        self.urgent.is_full_for(tenant, loads * MOST_LOADED)
    }

    /// Begins the next load of a kind, if none is under way and a task waits for one. Returns what has to be loaded.
    pub(super) fn begin(&mut self, kind: LoadKind) -> Option<Vec<LoadRequest>> {
        if self.slot(kind).is_some() {
            return None;
        }
        let key_tasks: Vec<_> = match kind {
            LoadKind::Short => {
                let (urgent, others) = room::split(MOST_LOADED, self.urgent.len(), self.others.len());
                self.began_with_urgent = !self.began_with_urgent;
                let (urgent, others) = (self.urgent.take(urgent), self.others.take(others));
                interleave(urgent, others, self.began_with_urgent)
            }
            LoadKind::Long => self.long.take(MOST_LONG).collect(),
            LoadKind::VeryLong => self.very_long.take(MOST_LONG).collect(),
        };
        if key_tasks.is_empty() {
            return None;
        }
        let load_requests = key_tasks.iter().map(KeyTask::load_request).collect();
        *self.slot(kind) = Some(key_tasks);
        Some(load_requests)
    }

    /// Ends the load of a kind that is under way. Returns its tasks.
    pub(super) fn end(&mut self, kind: LoadKind) -> Vec<KeyTask> {
        self.slot(kind).take().unwrap_or_default()
    }

    const fn slot(&mut self, kind: LoadKind) -> &mut Option<Vec<KeyTask>> {
        &mut self.under_way[kind as usize]
    }

    /// Whether no load is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.iter().all(Option::is_none)
    }

    /// Logs the cause why a key cannot be read, once per key.
    pub(super) fn log_unreadable(&mut self, id: &KeyId, unreadable: &Unreadable) {
        if self.unreadable.len() >= MOST_LOGGED {
            self.unreadable.clear();
        }
        if self.unreadable.insert(id.clone()) {
            let (tenant, key) = (id.tenant.as_str(), id.key.as_str());
            tracing::error!(
                tenant,
                key,
                error = unreadable as &dyn std::error::Error,
                "a key cannot be read"
            );
        }
    }

    /// Removes the waiting tasks for which `keep` returns false.
    pub(super) fn retain_waiting(&mut self, mut keep: impl FnMut(&mut KeyTask) -> bool) {
        self.urgent.retain(&mut keep);
        self.others.retain(&mut keep);
        self.long.retain(&mut keep);
        self.very_long.retain(&mut keep);
        self.without_membership.retain_mut(keep);
    }

    /// The tasks of the loads under way.
    pub(super) fn under_way(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        self.under_way.iter_mut().flatten().flatten()
    }
}

/// The tasks of a load in an order in which three of four are urgent while there are such tasks. If the load is full
/// before its end, the others have had their part of it.
fn interleave(
    mut urgent: impl Iterator<Item = KeyTask>,
    mut others: impl Iterator<Item = KeyTask>,
    begins_with_urgent: bool,
) -> Vec<KeyTask> {
    let mut key_tasks = Vec::new();
    if !begins_with_urgent {
        key_tasks.extend(others.next());
    }
    loop {
        let before = key_tasks.len();
        key_tasks.extend(urgent.by_ref().take(room::KEPT_PART - 1));
        key_tasks.extend(others.next());
        if key_tasks.len() == before {
            return key_tasks;
        }
    }
}

#[cfg(test)]
mod tests;
