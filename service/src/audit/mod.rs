//! The audit trail: who was granted, released and refused what, one JSON object a line.
//!
//! Records are made where a decision is known to be durable, and written by a thread of their own behind a bounded queue. A
//! disk that is slow or full costs records, which are counted, and nothing else. While the trail is off, nothing is built for
//! it.

mod line;
mod log;
mod origin;
mod output;
mod queue;
mod record;
mod writer;

pub use self::{
    log::AuditLog,
    origin::Origin,
    output::{AuditError, AuditOutput},
    queue::register,
    record::{AuditEvent, AuditRecord},
};
