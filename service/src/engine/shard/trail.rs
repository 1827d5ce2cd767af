//! Audit records of a durable change: grants, ends of grants, and refusals.

use super::local_waiters::LocalWaiters;
use crate::{
    audit::{AuditEvent, AuditLog, AuditRecord, Origin},
    domain::{
        Body, Command, Effects, EndReason, Ended, KeyId, KeyState, Kind, LockView, NotGrantedReason, Owner,
        Reason, Refusal, Reply, RequestId, Timestamp, Token, Verdict, Version,
    },
    engine::pending_request::PendingRequest,
};

/// The origin of a request and the owner that it names.
type RequestCaller<'a> = Option<(&'a Origin, &'a Owner)>;

/// The status of the answer to a caller that was answered before the outcome of its command was known.
const FAILED: u16 = 503;

/// A change that is durable.
#[derive(Debug)]
pub(super) struct Change<'a> {
    /// The key.
    pub(super) id: &'a KeyId,
    /// Its state after the change.
    pub(super) state: &'a KeyState,
    /// The commands that were decided.
    pub(super) requests: &'a [PendingRequest],
    /// A verdict for each.
    pub(super) verdicts: &'a [Verdict],
    /// The effects of the change beyond the verdicts.
    pub(super) effects: &'a Effects,
    /// The amount by which the store raised the decided tokens.
    pub(super) raised: i64,
    /// The time of the change, by the database's clock.
    pub(super) at: Timestamp,
}

/// Records a change, roughly in the order in which its parts happened.
pub(super) fn record(log: &AuditLog, change: &Change<'_>, waiters: &LocalWaiters) {
    let mut recorder = Recorder {
        log,
        change,
        waiters,
        ended: change.effects.ended.iter().flatten().collect(),
        granted: change.effects.granted.clone().unwrap_or_default(),
    };
    recorder.record_ends_without_request();
    for (request, verdict) in change.requests.iter().zip(change.verdicts) {
        match verdict {
            Verdict::Reply(reply) => recorder.record_reply(request, reply),
            // The answer comes when the open transaction has ended, or takes too long.
            Verdict::GuardOpen(_) => recorder.record_end_by(request, None),
            Verdict::Waiting { .. } | Verdict::Unknown => {}
        }
    }
    for (request_id, reply) in &change.effects.answered {
        recorder.record_answer(recorder.caller(*request_id), reply, false);
    }
    recorder.record_other_ends();
}

/// The status of the answer to a command; `usual` unless its caller was answered with an error before.
const fn status_of(request: &PendingRequest, usual: Option<u16>) -> Option<u16> {
    if request.has_failed() { Some(FAILED) } else { usual }
}

/// The caller of an acquire, if it has this id.
fn caller_of(request: &PendingRequest, request_id: RequestId) -> RequestCaller<'_> {
    match request.asked() {
        Command::Acquire(acquire) if acquire.request_id == request_id => {
            request.origin.as_deref().map(|origin| (origin, &acquire.owner))
        }
        _ => None,
    }
}

struct Recorder<'a> {
    log: &'a AuditLog,
    change: &'a Change<'a>,
    waiters: &'a LocalWaiters,
    /// Ended grants that were not recorded yet.
    ended: Vec<&'a Ended>,
    /// Versions of new grants that were not recorded yet.
    granted: Vec<Version>,
}

impl<'a> Recorder<'a> {
    fn new_record(&self, event: AuditEvent, origin: Option<&'a Origin>, kind: Kind) -> AuditRecord<'a> {
        AuditRecord {
            origin,
            tenant: Some(&self.change.id.tenant),
            kind: Some(kind),
            key: Some(&self.change.id.key),
            ..AuditRecord::new(self.change.at, event)
        }
    }

    /// The origin of a waiter's request and its owner. A waiter that this change has put into the queue is not yet
    /// registered.
    fn caller(&self, request_id: RequestId) -> RequestCaller<'a> {
        let waiter = self.waiters.origin(request_id).map(|waiter| (&*waiter.origin, &waiter.owner));
        waiter.or_else(|| self.change.requests.iter().find_map(|request| caller_of(request, request_id)))
    }

    /// The kind of the key, or its kind before it was deleted.
    fn kind(&self) -> Kind {
        let is_semaphore = match self.change.state.body {
            Body::Semaphore(_) => true,
            Body::Mutex(_) => false,
            Body::Absent => {
                let deletes = |request: &PendingRequest| matches!(request.asked(), Command::DeleteSemaphore);
                self.change.requests.iter().any(deletes)
            }
        };
        if is_semaphore { Kind::Semaphore } else { Kind::Mutex }
    }

    /// Records leases that expired, and grants that were given back because their answers reached nobody.
    fn record_ends_without_request(&mut self) {
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
    fn record_other_ends(&mut self) {
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
        AuditRecord {
            owner: Some(&ended.owner),
            version: Some(ended.version),
            fencing_token: Some(token),
            reason,
            ..self.new_record(event, None, self.kind())
        }
    }

    /// Records the answer to a command. A command that was replaced has its own answer only if it was decided before:
    /// the commands that replace others are answered with neither of these replies.
    fn record_reply(&mut self, request: &'a PendingRequest, reply: &Reply) {
        let origin = request.origin.as_deref();
        match (request.asked(), reply) {
            (Command::Acquire(acquire), _) => {
                let caller = origin.map(|origin| (origin, &acquire.owner));
                self.record_answer(caller, reply, request.has_failed());
            }
            (Command::Leave { request_id, .. }, _) => {
                self.record_answer(self.caller(*request_id), reply, false);
            }
            (Command::Release(_) | Command::ForceRelease(_), Reply::Released(_)) => {
                self.record_end_by(request, Some(200));
            }
            (Command::DeleteLock { .. } | Command::DeleteSemaphore, Reply::Deleted) => {
                self.record_deletion(request);
            }
            (Command::PutSemaphore { .. }, Reply::Semaphore { created: false, .. }) => {
                let record = self.new_record(AuditEvent::Resized, origin, Kind::Semaphore);
                self.log.record(&AuditRecord { status: status_of(request, Some(200)), ..record });
            }
            _ => {}
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
    fn record_end_by(&mut self, request: &'a PendingRequest, status: Option<u16>) {
        let (how, version, reason) = match request.asked() {
            Command::Release(release) => (EndReason::Released, Some(release.version), None),
            Command::ForceRelease(forced) => (EndReason::Forced, forced.version, forced.reason.as_ref()),
            Command::DeleteLock { version } => (EndReason::Deleted, *version, None),
            _ => return,
        };
        let Some(ended) = self.take_end(how, version) else { return };
        self.log.record(&AuditRecord {
            origin: request.origin.as_deref(),
            status: status_of(request, status),
            reason: reason.map(Reason::as_str),
            ..self.end_of(ended)
        });
    }

    fn record_deletion(&mut self, request: &'a PendingRequest) {
        let (kind, held) = match request.asked() {
            Command::DeleteSemaphore => (Kind::Semaphore, None),
            _ => (Kind::Mutex, self.take_end(EndReason::Deleted, None)),
        };
        self.log.record(&AuditRecord {
            owner: held.map(|held| &held.owner),
            version: held.map(|held| held.version),
            fencing_token: held.map(|held| held.token),
            status: status_of(request, Some(204)),
            ..self.new_record(AuditEvent::Deleted, request.origin.as_deref(), kind)
        });
    }

    /// Records the answer to an acquire, given at once or after a wait. A grant that existed before is not recorded
    /// again. `has_failed` says that the caller was answered with an error before.
    fn record_answer(&mut self, caller: RequestCaller<'a>, reply: &Reply, has_failed: bool) {
        let status = |usual| Some(if has_failed { FAILED } else { usual });
        match reply {
            Reply::Granted(view) => self.record_grant(caller, view, status(200)),
            Reply::Refused(Refusal::NotGranted(not_granted)) => {
                let origin = caller.map(|(origin, _)| origin);
                let reason = match not_granted.reason {
                    NotGrantedReason::NoWait => "no_wait",
                    NotGrantedReason::TimedOut => "timed_out",
                    NotGrantedReason::GuardedTransaction => "guarded_transaction",
                };
                self.log.record(&AuditRecord {
                    owner: caller.map(|(_, owner)| owner),
                    status: status(423),
                    reason: Some(reason),
                    ..self.new_record(AuditEvent::Refused, origin, self.kind())
                });
            }
            _ => {}
        }
    }

    fn record_grant(&mut self, caller: RequestCaller<'a>, view: &LockView, status: Option<u16>) {
        let Some(held) = &view.held else { return };
        let Some(index) = self.granted.iter().position(|version| *version == held.version) else { return };
        self.granted.swap_remove(index);
        let kind = if view.is_permit { Kind::Semaphore } else { Kind::Mutex };
        self.log.record(&AuditRecord {
            time: held.acquired_at,
            owner: Some(&held.owner),
            version: Some(held.version),
            fencing_token: Some(Token(view.fencing_token.0 + self.change.raised)),
            status,
            ..self.new_record(AuditEvent::Granted, caller.map(|(origin, _)| origin), kind)
        });
    }
}
