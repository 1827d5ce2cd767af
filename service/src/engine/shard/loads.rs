//! The load of a shard that is under way, and the key tasks that wait for one.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use super::{intake::Backpressure, room};
use crate::{
    domain::KeyId,
    engine::key_task::KeyTask,
    store::{LoadRequest, Unreadable},
};

/// The maximum number of keys of a load.
const MOST_LOADED: usize = 256;

/// The maximum number of tasks of a load that count permits. Each may read thousands of rows, and all others wait for them.
const MOST_COUNTING: usize = 8;

/// The number of unreadable keys after which their causes are logged again.
const MOST_LOGGED: usize = 1_000;

/// The key tasks that wait for a load, and those of the load under way.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// Tasks with urgent commands, kept apart so that a heartbeat does not wait behind thousands of acquires.
    urgent: VecDeque<KeyTask>,
    /// The other tasks.
    others: VecDeque<KeyTask>,
    /// Tasks that count permits. Their tenants take turns.
    counting: VecDeque<KeyTask>,
    /// Tasks that wait until this replica is registered, so that the other replicas know it.
    without_membership: Vec<KeyTask>,
    /// The tasks of the load under way, if there is one.
    under_way: Option<Vec<KeyTask>>,
    /// Unreadable keys whose cause was logged.
    unreadable: FxHashSet<KeyId>,
}

impl Loads {
    /// Queues a task for a load.
    pub(super) fn push(&mut self, key_task: KeyTask) {
        let line = if key_task.counts_permits() {
            &mut self.counting
        } else if key_task.is_urgent() {
            &mut self.urgent
        } else {
            &mut self.others
        };
        line.push_back(key_task);
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

    /// The commands that stay in the intake until others are loaded. Tasks that wait here are loaded in order of
    /// arrival, regardless of their tenants.
    pub(super) fn backpressure(&self) -> Backpressure {
        let waiting = self.others.len();
        Backpressure { others: waiting >= 2 * MOST_LOADED, reads: waiting >= MOST_LOADED }
    }

    /// Begins the next load, if none is under way and a task waits for one. Returns what has to be loaded.
    pub(super) fn begin(&mut self) -> Option<Vec<LoadRequest>> {
        if self.under_way.is_some() {
            return None;
        }
        let mut key_tasks = self.take_counting();
        let most = MOST_LOADED - key_tasks.len();
        let (urgent, others) = room::split(most, self.urgent.len(), self.others.len());
        key_tasks.extend(self.urgent.drain(..urgent).chain(self.others.drain(..others)));
        if key_tasks.is_empty() {
            return None;
        }
        let load_requests = key_tasks.iter().map(KeyTask::load_request).collect();
        self.under_way = Some(key_tasks);
        Some(load_requests)
    }

    /// Takes the tasks of the next load that count permits: one of each tenant, then further ones in order of arrival. Tenants
    /// that had one go behind the others.
    fn take_counting(&mut self) -> Vec<KeyTask> {
        if self.counting.len() <= MOST_COUNTING {
            return self.counting.drain(..).collect();
        }
        let mut tenants = FxHashSet::default();
        let (first, mut others): (Vec<_>, Vec<_>) = self
            .counting
            .drain(..)
            .partition(|task| tenants.len() < MOST_COUNTING && tenants.insert(task.id.tenant.clone()));
        let further = MOST_COUNTING - first.len();
        let taken = first.into_iter().chain(others.drain(..further)).collect();
        others.sort_by_key(|task| tenants.contains(&task.id.tenant));
        self.counting = others.into();
        taken
    }

    /// Ends the load under way. Returns its tasks.
    pub(super) fn end(&mut self) -> Vec<KeyTask> {
        self.under_way.take().unwrap_or_default()
    }

    /// Whether no load is under way.
    pub(super) const fn is_idle(&self) -> bool {
        self.under_way.is_none()
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
        self.urgent.retain_mut(&mut keep);
        self.others.retain_mut(&mut keep);
        self.counting.retain_mut(&mut keep);
        self.without_membership.retain_mut(keep);
    }

    /// The tasks of the load under way.
    pub(super) fn under_way(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        self.under_way.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        domain::{Command, Key, Kind, Tenant},
        engine::pending_request::PendingRequest,
    };

    fn key_task(key: &str, command: Command) -> KeyTask {
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(key) };
        KeyTask::new(PendingRequest::internal(id, command, Instant::now()))
    }

    fn keys(load_requests: Option<Vec<LoadRequest>>) -> Vec<String> {
        let requests = load_requests.into_iter().flatten();
        requests.map(|request| request.id.key.as_str().to_owned()).collect()
    }

    /// Guards that no lease ends because its heartbeat waits behind thousands of acquires.
    #[tokio::test]
    async fn urgent_tasks_are_loaded_first_and_one_load_is_under_way_at_a_time() {
        let mut loads = Loads::default();
        loads.push(key_task("get", Command::Get(Kind::Mutex)));
        loads.push(key_task("serve", Command::ServeQueue));
        assert_eq!(keys(loads.begin()), ["serve", "get"]);
        loads.push(key_task("next", Command::ServeQueue));
        assert!(loads.begin().is_none(), "a load is under way");
        assert_eq!(loads.end().len(), 2);
        assert_eq!(keys(loads.begin()), ["next"]);
    }

    /// Guards that a tenant whose semaphores have thousands of permits delays no heartbeat of another.
    #[tokio::test]
    async fn a_load_has_few_tasks_that_count_permits_and_their_tenants_take_turns() {
        let mut loads = Loads::default();
        for number in 0..3 * MOST_COUNTING {
            loads.push(key_task(&format!("many{number}"), Command::DeleteSemaphore));
        }
        let id = KeyId { tenant: Tenant::trusted("other"), key: Key::trusted("few") };
        loads.push(KeyTask::new(PendingRequest::internal(id, Command::DeleteSemaphore, Instant::now())));
        loads.push(key_task("serve", Command::ServeQueue));
        let first = keys(loads.begin());
        assert_eq!(first.len(), MOST_COUNTING + 1);
        assert!(first.contains(&"few".to_owned()) && first.contains(&"serve".to_owned()), "{first:?}");
        loads.end();
        assert_eq!(keys(loads.begin()).len(), MOST_COUNTING);
        loads.end();
        assert_eq!(keys(loads.begin()).len(), MOST_COUNTING);
        loads.end();
        assert_eq!(keys(loads.begin()), ["many23"], "in order of arrival");
        loads.end();
        assert!(loads.begin().is_none());
    }

    #[tokio::test]
    async fn tasks_that_need_membership_are_loaded_once_there_is_one() {
        let mut loads = Loads::default();
        loads.push_without_membership(key_task("a", Command::ServeQueue));
        assert!(loads.begin().is_none());
        loads.on_registered();
        assert_eq!(keys(loads.begin()), ["a"]);
    }
}
