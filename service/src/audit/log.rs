//! The handle that passes records to the writer.

use std::{
    cell::RefCell,
    sync::{Arc, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{
    AuditError, AuditEvent, AuditOutput, AuditRecord,
    line::LineFormatter,
    queue::{Queue, dropped},
    refusals::RefusalLimit,
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

/// The end of the queue that takes records. Closes the queue when the last handle is gone.
#[derive(Debug)]
struct Sender {
    queue: Arc<Queue>,
    refusals: RefusalLimit,
}

impl Sender {
    fn add(&self, record: &AuditRecord<'_>) {
        let is_change = record.event.is_change();
        let is_added =
            LINE.with_borrow_mut(|line| self.queue.push(line.make(record), record.tenant, is_change));
        if !is_added {
            // With those that the line would have counted.
            dropped(1 + record.left_out.unwrap_or_default(), "more records come than can be written");
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.queue.close();
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
        Ok(Self(Some(Arc::new(Sender { queue, refusals: RefusalLimit::default() }))))
    }

    /// Whether records are kept.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a record, except a refusal beyond the limit of its tenant. Never waits: if the queue is full, the record is
    /// dropped and counted.
    pub fn record(&self, record: &AuditRecord<'_>) {
        let Some(sender) = &self.0 else { return };
        match (record.event, record.tenant) {
            (AuditEvent::Refused, Some(tenant)) => {
                let Some(left_out) = sender.refusals.pass(tenant, Instant::now()) else { return };
                let left_out = (left_out > 0).then_some(left_out);
                sender.add(&AuditRecord { left_out, ..record.clone() });
            }
            _ => sender.add(record),
        }
    }

    /// Opens the file again, when a program that rotates logs asks for that.
    pub fn reopen(&self) {
        if let Some(sender) = &self.0 {
            sender.queue.reopen();
        }
    }

    /// Waits until the records so far are written, for at most a second.
    pub fn flush(&self) {
        let Some(sender) = &self.0 else { return };
        if sender.queue.flush().recv_timeout(FLUSH_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last audit records may not have been written");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::domain::{Tenant, Timestamp};

    /// Guards that a tenant which is refused without end costs no record of a change.
    #[test]
    fn refusals_without_end_are_left_out_and_no_change_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::start(AuditOutput::File(path.clone())).unwrap();
        let tenant = Tenant::trusted("many");
        let add = |event| {
            let record = AuditRecord::new(Timestamp(0), event);
            log.record(&AuditRecord { tenant: Some(&tenant), ..record });
        };
        for _ in 0..2_000 {
            add(AuditEvent::Refused);
            add(AuditEvent::Granted);
        }
        log.flush();
        let text = std::fs::read_to_string(path).unwrap();
        let count = |event: &str| text.lines().filter(|line| line.contains(event)).count();
        assert_eq!(count("\"granted\""), 2_000);
        assert!((1..2_000).contains(&count("\"refused\"")), "{}", count("\"refused\""));
    }
}
