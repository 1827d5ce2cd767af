//! Decided tasks that wait for a commit.

use super::{
    batch::{Batch, DecidedTask},
    room,
};
use crate::{domain::Tenant, store::Write, turns::Turns};

/// Decided tasks that wait for a commit, those with urgent commands apart. In each line the tenants take turns.
#[derive(Debug, Default)]
pub(super) struct DecidedLines {
    urgent: Turns<Tenant, (Write, DecidedTask)>,
    others: Turns<Tenant, (Write, DecidedTask)>,
    /// The number of tasks popped since the others had the first claim.
    popped: usize,
}

impl DecidedLines {
    /// Adds a task.
    pub(super) fn push(&mut self, write: Write, task: DecidedTask) {
        let tenant = task.key_task.id.tenant.clone();
        let line = if task.key_task.is_urgent() { &mut self.urgent } else { &mut self.others };
        line.push_back(&tenant, (write, task));
    }

    /// The number of tasks.
    pub(super) const fn len(&self) -> usize {
        self.urgent.len() + self.others.len()
    }

    /// Whether at least `keys` urgent tasks wait, and the tenant has its share of them.
    pub(super) fn is_full_of_urgent(&self, tenant: &Tenant, keys: usize) -> bool {
        self.urgent.is_full_for(tenant, keys)
    }

    /// Whether at least `keys` other tasks wait, and the tenant has its share of them.
    pub(super) fn is_full_of_others(&self, tenant: &Tenant, keys: usize) -> bool {
        self.others.is_full_for(tenant, keys)
    }

    /// Removes and returns the next task. Urgent ones go first, and leave one of [`room::KEPT_PART`] to the others.
    pub(super) fn pop(&mut self) -> Option<(Write, DecidedTask)> {
        self.popped = (self.popped + 1) % room::KEPT_PART;
        if self.popped == 0 {
            self.others.pop().or_else(|| self.urgent.pop())
        } else {
            self.urgent.pop().or_else(|| self.others.pop())
        }
    }

    /// Takes a batch of at most so many keys, and about so many bytes; `None` if no task waits. Of each kind that waits
    /// there is at least one task in it, however large the others are.
    pub(super) fn take_batch(&mut self, keys: usize, bytes: usize) -> Option<Batch> {
        let (urgent, others) = room::split(keys, self.urgent.len(), self.others.len());
        let urgent_bytes = room::most_urgent_bytes(bytes, others);
        let mut decided = Vec::with_capacity(urgent + others);
        let taken = take(&mut self.urgent, urgent, urgent_bytes, &mut decided);
        take(&mut self.others, others, bytes.saturating_sub(taken), &mut decided);
        Batch::new(decided)
    }

    /// All tasks.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut DecidedTask> {
        self.urgent.iter_mut().chain(self.others.iter_mut()).map(|(_, task)| task)
    }
}

/// Moves tasks of a line to a batch: at most `most`, and none after the first once their writes have `most_bytes`.
/// Returns the bytes of the writes.
fn take(
    line: &mut Turns<Tenant, (Write, DecidedTask)>,
    most: usize,
    most_bytes: usize,
    batch: &mut Vec<(Write, DecidedTask)>,
) -> usize {
    let mut bytes = 0;
    for (write, task) in line.take(most) {
        bytes += write.change.bytes();
        batch.push((write, task));
        if bytes >= most_bytes {
            break;
        }
    }
    bytes
}
