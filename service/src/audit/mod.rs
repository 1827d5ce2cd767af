//! The audit log: what callers were granted, released and refused, one JSON object a line.
//!
//! Records are made where a decision is known to be durable. A separate thread writes them, behind a bounded queue. A
//! slow or full disk costs records, which are counted, and nothing else. Tenants have equal shares of the queue, so one of
//! them costs no record of another. Refusals have a limit for each tenant, and leave half of the queue to changes. While the
//! trail is off, nothing is built for it.

mod line;
mod log;
mod origin;
mod output;
mod queue;
mod record;
mod refusals;
mod room;
mod writer;

pub use self::{
    log::AuditLog,
    origin::Origin,
    output::{AuditError, AuditOutput},
    queue::register,
    record::{AuditEvent, AuditRecord},
};
