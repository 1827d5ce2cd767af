//! Forming the key tasks of a batch from the commands that wait for one.

use std::collections::hash_map::Entry;

use tokio::time::Instant;

use super::{Backpressure, Intake, KeyCommands};
use crate::{
    domain::{Command, DataEdit, KeyId},
    engine::{
        key_task::KeyTask,
        pending_request::PendingRequest,
        shard::room::{BatchRoom, most_urgent},
    },
};

/// The maximum number of leaves of a batch: enough to empty a queue of thousands soon, few enough to keep the commit
/// short.
const MOST_LEAVES: usize = 512;

/// The maximum number of commands that only read and are gathered at a time: as many as one load takes.
const MOST_READS: usize = 256;

/// The maximum size of the data of a batch in bytes. `max_allowed_packet` of the supported servers is at least 16 MiB.
const MOST_BYTES: usize = 2 << 20;

/// The key tasks of the batch that is being gathered.
#[derive(Debug, Default)]
struct Gathered {
    key_tasks: Vec<KeyTask>,
    /// The number of commands, without those that only read. All leaves of a key count as one.
    commands: usize,
    bytes: usize,
}

impl Intake {
    /// Groups the waiting commands by key: urgent commands first, then leaves, acquires, and commands that only read.
    /// Their keys become busy. `room` is that of the batch; `backpressure` says which commands stay in the intake.
    pub(in super::super) fn gather(&mut self, room: BatchRoom, backpressure: Backpressure) -> Vec<KeyTask> {
        if self.waiting(backpressure) == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        self.admit_deferred();
        self.batch += 1;
        let others = if backpressure.others { 0 } else { self.leaves.ready_keys() + self.acquires.len() };
        let mut gathered = Gathered::default();
        self.gather_urgent(&mut gathered, room, others, now);
        if others > 0 {
            self.gather_others(&mut gathered, room, now);
        }
        if !backpressure.reads {
            self.gather_reads(&mut gathered, now);
        }
        if !self.to_serve.is_empty() {
            for key_task in &gathered.key_tasks {
                self.to_serve.remove(&key_task.id);
            }
        }
        gathered.key_tasks
    }

    /// Gathers urgent commands, and leaves room for the `others` that wait.
    fn gather_urgent(&mut self, gathered: &mut Gathered, room: BatchRoom, others: usize, now: Instant) {
        let most = most_urgent(room.most, room.others + others).saturating_sub(room.urgent);
        let most_bytes = if others == 0 { MOST_BYTES } else { most_urgent(MOST_BYTES, MOST_BYTES) };
        while gathered.commands < most
            && gathered.bytes < most_bytes
            && let Some(request) = self.urgent.pop_front(now)
        {
            self.add_counted(gathered, request);
        }
    }

    /// Gathers leaves and acquires for the rest of the room.
    fn gather_others(&mut self, gathered: &mut Gathered, room: BatchRoom, now: Instant) {
        let most = room.most.saturating_sub(room.urgent + room.others);
        self.gather_leaves(gathered, most.saturating_sub(gathered.commands));
        while gathered.commands < most
            && gathered.bytes < MOST_BYTES
            && let Some(request) = self.acquires.pop_front(now)
        {
            if !request.is_abandoned() {
                self.add_counted(gathered, request);
            }
        }
    }

    /// Gathers commands that only read. They take no room in the batch, because they are loaded and not written.
    fn gather_reads(&mut self, gathered: &mut Gathered, now: Instant) {
        let requests = std::iter::from_fn(|| self.reads.pop_front(now)).take(MOST_READS);
        for request in requests.collect::<Vec<_>>() {
            if !request.is_abandoned() {
                self.add(gathered, request);
            }
        }
    }

    /// Gathers leaves of at most half of `most` keys, since acquires need room, too, or of all when the service stops.
    fn gather_leaves(&mut self, gathered: &mut Gathered, most: usize) {
        let most_keys = if self.is_stopping { most } else { most.div_ceil(2) };
        let mut room = MOST_LEAVES;
        for _ in 0..most_keys {
            let (busy, batch) = (&self.busy, self.batch);
            let is_busy = |id: &KeyId| busy.get(id).is_some_and(|key| key.batch != batch);
            let Some(leaves) = self.leaves.next_key(room, is_busy) else { return };
            room -= leaves.len();
            gathered.commands += 1;
            for request in leaves {
                self.add(gathered, request);
            }
            if room == 0 {
                return;
            }
        }
    }

    fn add_counted(&mut self, gathered: &mut Gathered, request: PendingRequest) {
        let bytes = bytes_of(&request);
        if self.add(gathered, request) {
            gathered.commands += 1;
            gathered.bytes += bytes;
        }
    }

    /// Adds a command to the task of its key, or parks it if the key is busy with an earlier batch. Returns whether it
    /// was added.
    fn add(&mut self, gathered: &mut Gathered, request: PendingRequest) -> bool {
        match self.busy.entry(request.id.clone()) {
            Entry::Occupied(mut key) if key.get().batch != self.batch => {
                key.get_mut().parked.push(request);
                self.parked += 1;
                false
            }
            Entry::Occupied(key) => {
                gathered.key_tasks[key.get().task].requests.push(request);
                true
            }
            Entry::Vacant(vacant) => {
                let task = gathered.key_tasks.len();
                vacant.insert(KeyCommands { parked: Vec::new(), batch: self.batch, task });
                gathered.key_tasks.push(KeyTask::new(request));
                true
            }
        }
    }
}

/// The approximate number of bytes that a command adds to a batch.
fn bytes_of(request: &PendingRequest) -> usize {
    const WITHOUT_DATA: usize = 512;
    let edit = |edit: &DataEdit| match edit {
        DataEdit::Set(data) => data.as_str().len(),
        DataEdit::Keep | DataEdit::Delete => 0,
    };
    let data = match &request.command {
        Command::Acquire(acquire) => acquire.data.as_ref().map_or(0, |data| data.as_str().len()),
        Command::PutLock { data, .. } => data.as_ref().map_or(0, |data| data.as_str().len()),
        Command::Heartbeat(heartbeat) => edit(&heartbeat.data),
        Command::Release(release) => edit(&release.data),
        Command::ForceRelease(forced) => edit(&forced.data),
        _ => 0,
    };
    WITHOUT_DATA + data
}
