//! Audit records of a durable change: grants, ends of grants, and refusals.

mod ends;

use super::local_waiters::{LocalWaiters, WaiterOrigin};
use crate::{
    audit::{AuditEvent, AuditLog, AuditRecord, Origin},
    domain::{
        Body, Command, Effects, Ended, KeyId, KeyState, Kind, LockView, NotGrantedReason, Owner, Refusal,
        Reply, RequestId, Timestamp, Token, Verdict, Version,
    },
    engine::pending_request::PendingRequest,
};

/// The caller of an acquire.
#[derive(Debug, Clone, Copy)]
struct Caller<'a> {
    origin: &'a Origin,
    owner: &'a Owner,
    /// Whether the caller was answered with an error before.
    has_failed: bool,
}

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
    /// Whether the verdicts are answered. Otherwise another replica has written the key since, and the commands are
    /// decided again.
    pub(super) is_answered: bool,
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
            Verdict::GuardOpen(_) => recorder.record_end_by(request, request.has_failed().then_some(FAILED)),
            Verdict::Waiting { .. } | Verdict::Unknown => {}
        }
    }
    for (request_id, reply) in &change.effects.answered {
        recorder.record_answer(recorder.caller(*request_id), reply);
    }
    recorder.record_other_ends();
}

/// The caller of an acquire, if it has this id.
fn caller_of(request: &PendingRequest, request_id: RequestId) -> Option<Caller<'_>> {
    match request.asked() {
        Command::Acquire(acquire) if acquire.request_id == request_id => {
            let origin = request.origin.as_deref()?;
            Some(Caller { origin, owner: &acquire.owner, has_failed: request.has_failed() })
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

    /// The status of an answer, if it is known: `usual` unless the caller was answered with an error before.
    fn status(&self, usual: u16, has_failed: bool) -> Option<u16> {
        if has_failed { Some(FAILED) } else { self.change.is_answered.then_some(usual) }
    }

    fn status_of(&self, request: &PendingRequest, usual: u16) -> Option<u16> {
        self.status(usual, request.has_failed())
    }

    /// The caller of a waiter. A waiter that this change has put into the queue is not yet registered.
    fn caller(&self, request_id: RequestId) -> Option<Caller<'a>> {
        let waiter = self.waiters.origin(request_id);
        let waiter = waiter.map(|WaiterOrigin { origin, owner, has_failed }| Caller {
            origin,
            owner,
            has_failed: *has_failed,
        });
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

    /// Records the answer to a command. A command that was replaced has its own answer only if it was decided before:
    /// the commands that replace others are answered with neither of these replies.
    fn record_reply(&mut self, request: &'a PendingRequest, reply: &Reply) {
        let origin = request.origin.as_deref();
        match (request.asked(), reply) {
            (Command::Acquire(acquire), _) => {
                self.record_answer(caller_of(request, acquire.request_id), reply);
            }
            (Command::Leave { request_id, .. }, _) => self.record_answer(self.caller(*request_id), reply),
            (Command::Release(_) | Command::ForceRelease(_), Reply::Released(_)) => {
                self.record_end_by(request, self.status_of(request, 200));
            }
            (Command::DeleteLock { .. } | Command::DeleteSemaphore, Reply::Deleted) => {
                self.record_deletion(request);
            }
            (Command::PutSemaphore { .. }, Reply::Semaphore { created: false, .. }) => {
                let record = self.new_record(AuditEvent::Resized, origin, Kind::Semaphore);
                self.log.record(&AuditRecord { status: self.status_of(request, 200), ..record });
            }
            _ => {}
        }
    }

    /// Records the answer to an acquire, given at once or after a wait. A grant that existed before is not recorded
    /// again.
    fn record_answer(&mut self, caller: Option<Caller<'a>>, reply: &Reply) {
        let has_failed = caller.is_some_and(|caller| caller.has_failed);
        let origin = caller.map(|caller| caller.origin);
        match reply {
            Reply::Granted(view) => self.record_grant(origin, view, self.status(200, has_failed)),
            Reply::Refused(Refusal::NotGranted(not_granted)) if self.change.is_answered => {
                let reason = match not_granted.reason {
                    NotGrantedReason::NoWait => "no_wait",
                    NotGrantedReason::TimedOut => "timed_out",
                    NotGrantedReason::GuardedTransaction => "guarded_transaction",
                };
                self.log.record(&AuditRecord {
                    owner: caller.map(|caller| caller.owner),
                    status: self.status(423, has_failed),
                    reason: Some(reason),
                    ..self.new_record(AuditEvent::Refused, origin, self.kind())
                });
            }
            _ => {}
        }
    }

    fn record_grant(&mut self, origin: Option<&'a Origin>, view: &LockView, status: Option<u16>) {
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
            ..self.new_record(AuditEvent::Granted, origin, kind)
        });
    }
}
