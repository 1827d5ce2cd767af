//! Decided changes of guarded keys that wait for their commit.
//!
//! Each of these changes has a commit of its own, so a tenant can ask for more of them than the database takes. In each
//! line the tenants take turns. Urgent changes go first, and leave every fourth commit to the others. While a line is
//! full, the commands of its largest tenants stay in the intake ([`Backpressure`](super::backpressure::Backpressure)).

use super::{batch::DecidedTask, decided_lines::DecidedLines};
use crate::{domain::Tenant, engine::key_task::KeyTask, store::Write, turns::Turns};

/// The number of waiting changes that are not urgent from which on the line is full. Few, because their callers can
/// only be refused for waiting too long while their commands are in the intake.
const MOST_OTHERS: usize = 128;

/// The number of waiting urgent changes from which on the line is full. More, because a heartbeat, which never waits
/// here, stays in the intake with the other urgent commands of its tenant.
const MOST_URGENT: usize = 512;

/// The decided changes that wait, in lines.
#[derive(Debug, Default)]
pub(super) struct GuardedLines {
    ready: DecidedLines,
    /// Changes of keys whose guard rows were found locked.
    retries: Turns<Tenant, (Write, DecidedTask)>,
}

impl GuardedLines {
    /// Adds a change of a key whose guard row was not found locked.
    pub(super) fn push(&mut self, write: Write, task: DecidedTask) {
        self.ready.push(write, task);
    }

    /// Adds a change of a key whose guard row was found locked.
    pub(super) fn push_retry(&mut self, write: Write, task: DecidedTask) {
        let tenant = task.key_task.id.tenant.clone();
        self.retries.push_back(&tenant, (write, task));
    }

    /// Removes and returns the next change.
    pub(super) fn pop(&mut self) -> Option<(Write, DecidedTask)> {
        self.ready.pop()
    }

    /// Removes and returns the next change of a key whose guard row was found locked.
    pub(super) fn pop_retry(&mut self) -> Option<(Write, DecidedTask)> {
        self.retries.pop()
    }

    /// Whether very many urgent changes wait, and the tenant has its share of them.
    pub(super) fn is_full_of_urgent(&self, tenant: &Tenant) -> bool {
        self.ready.is_full_of_urgent(tenant, MOST_URGENT)
    }

    /// Whether many changes wait that are not urgent, or very many urgent ones, and the tenant has its share of them.
    pub(super) fn is_full(&self, tenant: &Tenant) -> bool {
        self.ready.is_full_of_others(tenant, MOST_OTHERS) || self.is_full_of_urgent(tenant)
    }

    /// The tasks of all changes.
    pub(super) fn key_tasks(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        let retries = self.retries.iter_mut().map(|(_, task)| task);
        self.ready.iter_mut().chain(retries).map(|task| &mut task.key_task)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::batch::tests::decided_of, *};
    use crate::domain::{Command, Kind};

    fn push(lines: &mut GuardedLines, tenant: &str, command: &Command, count: usize) {
        for number in 0..count {
            let (write, task) = decided_of(tenant, &number.to_string(), command.clone());
            lines.push(write, task);
        }
    }

    /// An urgent command, and one that is not urgent.
    const URGENT: Command = Command::DeleteSemaphore;
    const OTHER: Command = Command::Get(Kind::Mutex);

    /// Guards that one tenant's guarded locks delay neither a release nor an acquire of another tenant.
    #[tokio::test(start_paused = true)]
    async fn urgent_changes_go_first_and_of_each_kind_the_tenants_take_turns() {
        let mut lines = GuardedLines::default();
        push(&mut lines, "many", &OTHER, 100);
        push(&mut lines, "many", &URGENT, 100);
        push(&mut lines, "few", &OTHER, 1);
        push(&mut lines, "few", &URGENT, 1);
        let first: Vec<_> = std::iter::from_fn(|| lines.pop()).take(8).collect();
        let of = |(_, task): &(Write, DecidedTask)| {
            let key_task = &task.key_task;
            (key_task.id.tenant.as_str().to_owned(), key_task.is_urgent())
        };
        let urgent = |tenant: &str| (tenant.to_owned(), true);
        let other = |tenant: &str| (tenant.to_owned(), false);
        let expected = [
            [urgent("many"), urgent("few"), urgent("many"), other("many")],
            [urgent("many"), urgent("many"), urgent("many"), other("few")],
        ];
        assert_eq!(first.iter().map(of).collect::<Vec<_>>(), expected.concat());
    }

    /// Guards that a tenant's acquires are refused in the intake before they fill the memory with decided changes.
    #[tokio::test(start_paused = true)]
    async fn a_line_is_full_only_for_the_tenants_that_fill_it() {
        let mut lines = GuardedLines::default();
        let (many, few) = (Tenant::trusted("many"), Tenant::trusted("few"));
        push(&mut lines, "few", &OTHER, 1);
        push(&mut lines, "many", &OTHER, MOST_OTHERS - 2);
        assert!(!lines.is_full(&many));
        push(&mut lines, "many", &OTHER, 1);
        assert!(lines.is_full(&many) && !lines.is_full(&few));
        assert!(!lines.is_full_of_urgent(&many), "its heartbeats do not stay in the intake");
        push(&mut lines, "few", &URGENT, 1);
        push(&mut lines, "many", &URGENT, MOST_URGENT - 1);
        assert!(lines.is_full_of_urgent(&many) && !lines.is_full_of_urgent(&few));
    }
}
