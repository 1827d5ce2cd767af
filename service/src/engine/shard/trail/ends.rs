//! Audit records of the ends of grants.

use super::Recorder;
use crate::{
    audit::{AuditEvent, AuditRecord},
    domain::{Command, EndReason, Ended, Kind, Reason, Token, Version},
    engine::pending_request::PendingRequest,
};

impl<'a> Recorder<'a> {
    /// Records leases that expired, and grants that were given back because their answers reached nobody.
    pub(super) fn record_ends_without_request(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        ended.retain(|ended| {
            let has_request = !matches!(ended.how, EndReason::Expired | EndReason::GivenBack);
            if !has_request {
                self.log.record(&self.end_of(ended));
            }
            has_request
        });
        self.ended = ended;
    }

    /// Records the ends that belong to no command.
    pub(super) fn record_other_ends(&mut self) {
        for ended in std::mem::take(&mut self.ended) {
            self.log.record(&self.end_of(ended));
        }
    }

    /// The record of the end of a grant, without its cause.
    fn end_of(&self, ended: &'a Ended) -> AuditRecord<'a> {
        let (event, reason) = match ended.how {
            EndReason::Released => (AuditEvent::Released, None),
            EndReason::Forced => (AuditEvent::Forced, None),
            EndReason::GivenBack => (AuditEvent::Released, Some("undelivered")),
            EndReason::Expired => (AuditEvent::Expired, None),
            EndReason::Deleted => (AuditEvent::Deleted, None),
        };
        let is_new =
            self.change.effects.granted.as_ref().is_some_and(|granted| granted.contains(&ended.version));
        let token = if is_new { Token(ended.token.0 + self.change.raised) } else { ended.token };
        let at = if self.change.is_answered { self.change.at } else { ended.at };
        AuditRecord {
            time: at,
            owner: Some(&ended.owner),
            version: Some(ended.version),
            fencing_token: Some(token),
            reason,
            ..self.new_record(event, None, self.kind())
        }
    }

    /// Takes the grant that a command of this change ended from the ends that were not recorded yet.
    fn take_end(&mut self, how: EndReason, version: Option<Version>) -> Option<&'a Ended> {
        let is_it =
            |ended: &&Ended| ended.how == how && version.is_none_or(|version| version == ended.version);
        let index = self.ended.iter().position(is_it)?;
        Some(self.ended.remove(index))
    }

    /// Records the grant that a command ended. A command that ended none is not recorded. `status` is that of its
    /// answer, if it is known.
    pub(super) fn record_end_by(&mut self, request: &'a PendingRequest, status: Option<u16>) {
        let (how, version, reason) = match request.asked() {
            Command::Release(release) => (EndReason::Released, Some(release.version), None),
            Command::ForceRelease(forced) => (EndReason::Forced, forced.version, forced.reason.as_ref()),
            Command::DeleteLock { version } => (EndReason::Deleted, *version, None),
            _ => return,
        };
        let Some(ended) = self.take_end(how, version) else { return };
        self.log.record(&AuditRecord {
            origin: request.origin.as_deref(),
            status,
            reason: reason.map(Reason::as_str),
            ..self.end_of(ended)
        });
    }

    pub(super) fn record_deletion(&mut self, request: &'a PendingRequest) {
        let (kind, held) = match request.asked() {
            Command::DeleteSemaphore => (Kind::Semaphore, None),
            _ => (Kind::Mutex, self.take_end(EndReason::Deleted, None)),
        };
        self.log.record(&AuditRecord {
            owner: held.map(|held| &held.owner),
            version: held.map(|held| held.version),
            fencing_token: held.map(|held| held.token),
            status: self.status_of(request, 204),
            ..self.new_record(AuditEvent::Deleted, request.origin.as_deref(), kind)
        });
    }
}
