//! The lines that wait to be written, and the lines that are dropped.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use metrics::{counter, describe_counter};

use super::room::Room;
use crate::{domain::Tenant, log_limit::LogLimit};

const DROPPED: &str = "db_locks_audit_records_dropped_total";

/// The number of bytes that are written without waiting for more.
const ENOUGH_BYTES: usize = 256 << 10;

/// How long the writer waits for more records. To wake it for each record would cost more than the rest of the record.
const GATHER_FOR: Duration = Duration::from_millis(5);

/// Describes and registers the metric, so that it exists before the first record.
pub fn register() {
    describe_counter!(
        DROPPED,
        "Audit records that were not written: they came faster than that, or the output failed"
    );
    counter!(DROPPED).absolute(0);
}

/// Lines on their way to the writer, and orders for it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    writer: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    orders: Orders,
    /// Whether the last sender is gone.
    is_closed: bool,
    writer_state: WriterState,
}

/// Lines that the writer takes together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<u8>,
    /// The room that the lines take while they wait.
    room: Room,
}

/// The orders for the writer, besides writing.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Open the file again before anything else is written.
    pub(super) reopen: bool,
    /// Receivers to notify once everything added before is written.
    pub(super) flushes: Vec<SyncSender<()>>,
}

/// What the writer does now, which decides whether a change has to wake it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum WriterState {
    /// The writer writes, or was woken already.
    #[default]
    Busy,
    /// The writer waits for anything to do.
    Idle,
    /// The writer has lines and waits for more. It is woken once more lines gain nothing, or when somebody waits for it.
    Gathering,
}

impl Waiting {
    /// Whether somebody waits for the writer.
    const fn is_urgent(&self) -> bool {
        self.is_closed || self.orders.reopen || !self.orders.flushes.is_empty()
    }

    /// Whether the writer has nothing to do.
    const fn is_empty(&self) -> bool {
        self.batch.lines.is_empty() && !self.is_urgent()
    }

    /// Whether the writer should not wait for more.
    const fn is_enough(&self) -> bool {
        self.batch.lines.len() >= ENOUGH_BYTES || self.is_urgent()
    }
}

impl Queue {
    /// Adds the line of a change or of another event. Never waits: a line without room is dropped, and the result is
    /// `false`.
    pub(super) fn push(&self, line: &[u8], tenant: Option<&Tenant>, is_change: bool) -> bool {
        self.add(|Waiting { batch, .. }| {
            let has_room = batch.room.take(line.len(), tenant, is_change);
            if has_room {
                batch.lines.extend_from_slice(line);
            }
            has_room
        })
    }

    /// Makes the writer open the file again.
    pub(super) fn reopen(&self) {
        self.add(|waiting| waiting.orders.reopen = true);
    }

    /// Makes the writer write everything that was added so far, and then notify the receiver.
    pub(super) fn flush(&self) -> Receiver<()> {
        let (done, is_done) = sync_channel(1);
        self.add(|waiting| waiting.orders.flushes.push(done));
        is_done
    }

    /// Makes the writer end when everything is written.
    pub(super) fn close(&self) {
        self.add(|waiting| waiting.is_closed = true);
    }

    /// Makes a change, and wakes the writer if that fulfils the condition for it.
    fn add<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.lock();
        let answer = change(&mut waiting);
        let has_to_wake = match waiting.writer_state {
            WriterState::Busy => false,
            WriterState::Idle => !waiting.is_empty(),
            WriterState::Gathering => waiting.is_enough(),
        };
        if has_to_wake {
            waiting.writer_state = WriterState::Busy;
            drop(waiting);
            self.writer.notify_one();
        }
        answer
    }

    /// Waits for lines or orders, and a moment longer for more. Moves the lines into `batch`, which has to be empty.
    /// Returns `None` when the queue is closed and has no lines.
    pub(super) fn take(&self, batch: &mut Batch) -> Option<Orders> {
        let mut waiting = self.lock();
        waiting.writer_state = WriterState::Idle;
        waiting = self
            .writer
            .wait_while(waiting, |waiting| waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        waiting.writer_state = WriterState::Gathering;
        let gathered = self.writer.wait_timeout_while(waiting, GATHER_FOR, |waiting| !waiting.is_enough());
        (waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        waiting.writer_state = WriterState::Busy;
        if waiting.is_closed && waiting.batch.lines.is_empty() {
            return None;
        }
        std::mem::swap(&mut waiting.batch, batch);
        let orders = std::mem::take(&mut waiting.orders);
        drop(waiting);
        // There may be many tenants.
        batch.room.clear();
        Some(orders)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts records that were not written, and logs that once a second.
pub(super) fn dropped(records: u64, cause: &str) {
    static LIMIT: LogLimit = LogLimit::new();
    if records == 0 {
        return;
    }
    counter!(DROPPED).increment(records);
    if let Some(left_out) = LIMIT.pass() {
        tracing::error!(cause, left_out, "audit records are dropped");
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    /// Guards that a tenant whose records come faster than they are written costs no record of another.
    #[test]
    fn lines_of_a_tenant_without_room_are_dropped_and_none_of_another() {
        let queue = Queue::default();
        let (flood, other) = (Tenant::trusted("flood"), Tenant::trusted("other"));
        let mut batch = Batch::default();
        for _ in 0..2 {
            let mut added = 0;
            while queue.push(&[b'a'; 1_000], Some(&flood), true) {
                added += 1_000;
            }
            let others = [b'b'; 1_000];
            assert!(queue.push(&others, Some(&other), true) && queue.push(&others, None, false));
            queue.take(&mut batch).unwrap();
            assert!(batch.lines.len() == added + 2_000 && batch.lines.ends_with(&[b'b'; 2_000]));
            batch.lines.clear();
        }
    }

    #[test]
    fn an_idle_writer_is_woken_by_a_line_and_by_an_order() {
        let queue = Arc::new(Queue::default());
        let taken = || {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut batch = Batch::default();
                let orders = queue.take(&mut batch);
                (batch.lines, orders.map(|orders| (orders.reopen, orders.flushes.len())))
            })
        };
        let wait_for = |state| while queue.lock().writer_state != state {};
        let writer = taken();
        wait_for(WriterState::Idle);
        assert!(queue.push(b"a", None, true));
        assert_eq!(writer.join().unwrap(), (b"a".to_vec(), Some((false, 0))));
        let writer = taken();
        wait_for(WriterState::Idle);
        let is_done = queue.flush();
        assert_eq!(writer.join().unwrap(), (Vec::new(), Some((false, 1))));
        assert!(is_done.recv().is_err(), "that writer did not say so");
        let writer = taken();
        wait_for(WriterState::Idle);
        queue.close();
        assert_eq!(writer.join().unwrap(), (Vec::new(), None));
    }

    #[test]
    fn everything_that_came_before_the_end_is_written() {
        let queue = Queue::default();
        assert!(queue.push(b"a", None, true) && queue.push(b"b", None, false));
        queue.reopen();
        let _is_done = queue.flush();
        queue.close();
        let mut batch = Batch::default();
        let orders = queue.take(&mut batch).unwrap();
        assert_eq!((&batch.lines[..], orders.reopen, orders.flushes.len()), (&b"ab"[..], true, 1));
        batch.lines.clear();
        assert!(queue.take(&mut batch).is_none());
    }
}
