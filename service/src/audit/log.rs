//! The handle by which records are given to the writer.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use super::{
    AuditError, AuditOutput, AuditRecord,
    queue::{Message, Shared, dropped},
    writer::Writer,
};
use crate::tasks::spawn_critical_thread;

/// The most records that wait to be written: about a second of a busy replica.
const MOST_QUEUED: usize = 16_384;

/// How long a stopping service waits for the records to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// The audit trail: cheap to clone; off, it costs a comparison.
#[derive(Debug, Clone, Default)]
pub struct AuditLog(Option<Arc<Sender>>);

#[derive(Debug)]
struct Sender {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl AuditLog {
    /// A trail that is off.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens the output, and starts the thread that writes.
    ///
    /// # Errors
    /// If the output cannot be written, or there is no thread.
    pub fn start(output: AuditOutput) -> Result<Self, AuditError> {
        let (queue, inbox) = sync_channel(MOST_QUEUED);
        let shared = Arc::new(Shared::default());
        let writer = Writer::open(output, shared.clone())?;
        spawn_critical_thread("db-locks audit", move || writer.run(&inbox)).map_err(AuditError::Thread)?;
        Ok(Self(Some(Arc::new(Sender { queue, shared }))))
    }

    /// Whether records are kept.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a record. It never waits: a record that finds the queue full is dropped and counted.
    pub fn record(&self, record: AuditRecord) {
        let Some(sender) = &self.0 else { return };
        if let Err(TrySendError::Full(_)) = sender.queue.try_send(Message::Record(Box::new(record))) {
            dropped(1, "more records come than can be written");
        }
    }

    /// Opens the file anew, as a program that rotates logs asks for.
    pub fn reopen(&self) {
        let Some(sender) = &self.0 else { return };
        sender.shared.reopen.store(true, Ordering::Release);
        // Where the queue is full the writer looks by itself.
        let _ = sender.queue.try_send(Message::Reopen);
    }

    /// Waits until the records so far are written, but not for long.
    pub fn flush(&self) {
        let Some(sender) = &self.0 else { return };
        let (done, is_done) = sync_channel(1);
        if sender.queue.try_send(Message::Flush(done)).is_ok()
            && is_done.recv_timeout(FLUSH_WITHIN) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!("the last audit records may not have been written");
        }
    }
}
