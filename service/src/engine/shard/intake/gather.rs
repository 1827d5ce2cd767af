//! Forming the key tasks of a batch from the commands that wait for one.

use std::collections::hash_map::Entry;

use tokio::time::Instant;

use super::{Intake, KeyCommands};
use crate::{
    domain::{Command, DataEdit, ForcedRelease, Heartbeat, KeyId, Release, Tenant},
    engine::{
        key_task::KeyTask,
        pending_request::PendingRequest,
        shard::{
            backpressure::BatchRoom,
            room::{most_urgent, most_urgent_bytes},
        },
    },
};

/// The maximum number of leaves of a batch: enough to empty a queue of thousands soon, few enough to keep the commit
/// short.
const MOST_LEAVES: usize = 512;

/// The maximum number of commands that only read and are gathered at a time: as many as one load takes.
const MOST_READS: usize = 256;

/// The key tasks of the batch that is being gathered.
#[derive(Debug, Default)]
struct Gathered {
    key_tasks: Vec<KeyTask>,
    /// The bytes that each command of a task writes beside the key's row, in the order of the tasks. Leaves and reads
    /// write none.
    command_bytes: Vec<usize>,
    filled: Size,
}

/// The size of a batch, or a limit of it.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// The number of commands, without those that only read. All leaves of a key count as one.
    commands: usize,
    /// The bytes that are written, as far as they are known before the decisions.
    bytes: usize,
}

impl Size {
    const fn is_below(self, limit: Self) -> bool {
        self.commands < limit.commands && self.bytes < limit.bytes
    }

    /// The limit for work that may take this part of what is left up to `limit`: one of so many. There are always some
    /// bytes left: of each kind of work that waits, something gets into each batch.
    fn part_of_rest(self, limit: Self, part: usize) -> Self {
        let bytes = limit.bytes.saturating_sub(self.bytes).div_ceil(part).max(1);
        let commands = limit.commands.saturating_sub(self.commands).div_ceil(part);
        Self { commands: self.commands + commands, bytes: self.bytes + bytes }
    }
}

impl Intake {
    /// Groups the waiting commands by key: urgent commands first, then leaves, acquires, and commands that only read.
    /// Their keys become busy.
    pub(in super::super) fn gather(&mut self, room: BatchRoom<'_>) -> Vec<KeyTask> {
        let BatchRoom { limits, backpressure, .. } = room;
        if self.waiting(backpressure) == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        self.admit_deferred();
        self.batch += 1;
        let limit = Size { commands: limits.keys, bytes: limits.bytes };
        let mut gathered = Gathered::default();
        self.gather_urgent(&mut gathered, room, limit, now);
        let is_held = |tenant: &Tenant| backpressure.holds_others(tenant);
        // Acquires need room, too, but when the service stops, all waiters leave.
        let for_leaves = gathered.filled.part_of_rest(limit, if self.is_stopping { 1 } else { 2 });
        self.gather_leaves(&mut gathered, room, for_leaves, is_held);
        let for_acquires = gathered.filled.part_of_rest(limit, 1);
        while gathered.filled.is_below(for_acquires)
            && let Some(request) = self.acquires.pop_front(now, is_held)
        {
            if !request.is_abandoned() {
                self.add_counted(&mut gathered, room, request);
            }
        }
        self.gather_reads(&mut gathered, room, now);
        if !self.to_serve.is_empty() {
            for key_task in &gathered.key_tasks {
                self.to_serve.remove(&key_task.id);
            }
        }
        gathered.key_tasks
    }

    /// Gathers urgent commands, and leaves room for others if some wait.
    fn gather_urgent(&mut self, gathered: &mut Gathered, room: BatchRoom<'_>, limit: Size, now: Instant) {
        let backpressure = room.backpressure;
        let holds_others = |tenant: &Tenant| backpressure.holds_others(tenant);
        let others = self.leaves.ready_keys(holds_others) + self.acquires.len_unless(holds_others);
        let limit = Size {
            commands: most_urgent(limit.commands, others),
            bytes: most_urgent_bytes(limit.bytes, others),
        };
        while gathered.filled.is_below(limit)
            && let Some(request) = self.urgent.pop_front(now, |tenant| backpressure.holds_urgent(tenant))
        {
            self.add_counted(gathered, room, request);
        }
    }

    /// Gathers commands that only read. They take no room in the batch, because they are loaded and not written.
    fn gather_reads(&mut self, gathered: &mut Gathered, room: BatchRoom<'_>, now: Instant) {
        for _ in 0..MOST_READS {
            let request = self.reads.pop_front(now, |tenant| room.backpressure.holds_reads(tenant));
            let Some(request) = request else { return };
            if !request.is_abandoned() {
                self.add(gathered, room, request);
            }
        }
    }

    /// Gathers leaves of keys up to the limit.
    fn gather_leaves(
        &mut self,
        gathered: &mut Gathered,
        room: BatchRoom<'_>,
        limit: Size,
        is_held: impl Fn(&Tenant) -> bool,
    ) {
        let mut left = MOST_LEAVES;
        while gathered.filled.is_below(limit) && left > 0 {
            let (busy, batch) = (&self.busy, self.batch);
            let is_busy = |id: &KeyId| busy.get(id).is_some_and(|key| key.batch != batch);
            let Some(leaves) = self.leaves.next_key(left, &is_held, is_busy) else { return };
            left -= leaves.len();
            gathered.filled.commands += 1;
            for request in leaves {
                self.add(gathered, room, request);
            }
        }
    }

    fn add_counted(&mut self, gathered: &mut Gathered, room: BatchRoom<'_>, request: PendingRequest) {
        let bytes = data_bytes(&request.command);
        if let Some(task) = self.add(gathered, room, request) {
            gathered.filled.commands += 1;
            gathered.filled.bytes += bytes + gathered.command_bytes[task];
        }
    }

    /// Adds a command to the task of its key, or parks it if the key is busy with an earlier batch. Returns the index of
    /// the task that it was added to.
    fn add(
        &mut self,
        gathered: &mut Gathered,
        room: BatchRoom<'_>,
        request: PendingRequest,
    ) -> Option<usize> {
        match self.busy.entry(request.id.clone()) {
            Entry::Occupied(mut key) if key.get().batch != self.batch => {
                key.get_mut().parked.push(request);
                self.parked += 1;
                None
            }
            Entry::Occupied(key) => {
                let task = key.get().task;
                gathered.key_tasks[task].requests.push(request);
                Some(task)
            }
            Entry::Vacant(vacant) => {
                let task = gathered.key_tasks.len();
                let (row_bytes, command_bytes) = room.cache.bytes(&request.id);
                gathered.filled.bytes += row_bytes;
                gathered.command_bytes.push(command_bytes);
                vacant.insert(KeyCommands { parked: Vec::new(), batch: self.batch, task });
                gathered.key_tasks.push(KeyTask::new(request));
                Some(task)
            }
        }
    }
}

/// The bytes of the data that a command stores.
fn data_bytes(command: &Command) -> usize {
    let data = match command {
        Command::Acquire(acquire) => acquire.data.as_ref(),
        Command::PutLock { data, .. } => data.as_ref(),
        Command::Heartbeat(Heartbeat { data: DataEdit::Set(data), .. })
        | Command::Release(Release { data: DataEdit::Set(data), .. })
        | Command::ForceRelease(ForcedRelease { data: DataEdit::Set(data), .. }) => Some(data),
        _ => None,
    };
    data.map_or(0, |data| data.as_str().len())
}
