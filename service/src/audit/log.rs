//! The handle that passes records to the writer.

use std::{
    cell::RefCell,
    sync::{Arc, mpsc::RecvTimeoutError},
    time::Duration,
};

use super::{
    AuditError, AuditOutput, AuditRecord,
    line::LineFormatter,
    queue::{Queue, dropped},
    writer::Writer,
};
use crate::tasks::spawn_critical_thread;

/// How long a stopping service waits until the records are written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

thread_local! {
    /// Lines are made on the thread of their record. To send the record to the writer would take an allocation, and
    /// counted references that another thread would release.
    static LINE: RefCell<LineFormatter> = const { RefCell::new(LineFormatter::new()) };
}

/// The audit log. Cheap to clone; while it is off, a record costs a comparison.
#[derive(Debug, Clone, Default)]
pub struct AuditLog(Option<Arc<Sender>>);

/// Closes the queue when the last handle is gone.
#[derive(Debug)]
struct Sender(Arc<Queue>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl AuditLog {
    /// A trail that is off.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens the output, and starts the thread that writes.
    ///
    /// # Errors
    /// If the output cannot be opened, or the thread cannot be started.
    pub fn start(output: AuditOutput) -> Result<Self, AuditError> {
        let queue = Arc::new(Queue::default());
        let writer = Writer::open(output, queue.clone())?;
        spawn_critical_thread("db-locks audit", move || writer.run()).map_err(AuditError::Thread)?;
        Ok(Self(Some(Arc::new(Sender(queue)))))
    }

    /// Whether records are kept.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a record. Never waits: if the queue is full, the record is dropped and counted.
    pub fn record(&self, record: &AuditRecord<'_>) {
        let Some(sender) = &self.0 else { return };
        let is_added = LINE.with_borrow_mut(|line| sender.0.push(line.make(record)));
        if !is_added {
            dropped(1, "more records come than can be written");
        }
    }

    /// Opens the file again, when a program that rotates logs asks for that.
    pub fn reopen(&self) {
        if let Some(sender) = &self.0 {
            sender.0.reopen();
        }
    }

    /// Waits until the records so far are written, for at most a second.
    pub fn flush(&self) {
        let Some(sender) = &self.0 else { return };
        if sender.0.flush().recv_timeout(FLUSH_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last audit records may not have been written");
        }
    }
}
