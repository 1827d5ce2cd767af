//! What goes from the handles to the writer, and what is dropped on the way.

use std::sync::{atomic::AtomicBool, mpsc::SyncSender};

use metrics::{counter, describe_counter};

use super::AuditRecord;
use crate::log_limit::LogLimit;

const DROPPED: &str = "db_locks_audit_records_dropped_total";

/// Describes and registers the metric, so that it is there before the first record.
pub fn register() {
    describe_counter!(
        DROPPED,
        "Audit records that were not written: the disk was full, or slower than they came"
    );
    counter!(DROPPED).absolute(0);
}

/// What the writer receives.
#[derive(Debug)]
pub(super) enum Message {
    /// Write this.
    Record(Box<AuditRecord>),
    /// The file has to be opened anew: look at [`Shared::reopen`].
    Reopen,
    /// Answer when everything before this is written.
    Flush(SyncSender<()>),
}

/// What the handles and the writer share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Whether the file has to be opened anew before the next record.
    pub(super) reopen: AtomicBool,
}

/// Counts records that were not written, and says so once a second.
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
