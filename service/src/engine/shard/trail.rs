//! Audit records of a durable change: grants, ends of grants, and refusals.

use super::local_waiters::LocalWaiters;
use crate::{
    audit::{AuditEvent, AuditLog, AuditRecord, Origin},
    domain::{
        Body, Command, Effects, EndReason, Ended, ForcedRelease, KeyId, KeyState, Kind, LockView,
        NotGrantedReason, Owner, Reason, Refusal, Reply, RequestId, Timestamp, Token, Verdict, Version,
    },
    engine::pending_request::PendingRequest,
};

/// The origin of a request and the owner that it names.
type RequestCaller<'a> = Option<(&'a Origin, &'a Owner)>;

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
        if let Verdict::Reply(reply) = verdict {
            recorder.record_reply(request, reply);
        }
    }
    for (request_id, reply) in &change.effects.answered {
        recorder.record_answer(recorder.caller(*request_id), reply);
    }
    recorder.record_other_ends();
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

    /// The origin of a waiter's request and its owner.
    fn caller(&self, request_id: RequestId) -> RequestCaller<'a> {
        self.waiters.origin(request_id).map(|waiter| (&*waiter.origin, &waiter.owner))
    }

    /// The kind of the key, or its kind before it was deleted.
    fn kind(&self) -> Kind {
        let is_semaphore = match self.change.state.body {
            Body::Semaphore(_) => true,
            Body::Mutex(_) => false,
            Body::Absent => {
                let deletes = |request: &PendingRequest| matches!(request.command, Command::DeleteSemaphore);
                self.change.requests.iter().any(deletes)
            }
        };
        if is_semaphore { Kind::Semaphore } else { Kind::Mutex }
    }

    /// Records leases that expired, and grants that were given back because their answers reached nobody.
    fn record_ends_without_request(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        ended.retain(|ended| {
            let (event, reason) = match ended.how {
                EndReason::Expired => (AuditEvent::Expired, None),
                EndReason::GivenBack => (AuditEvent::Released, Some("undelivered")),
                EndReason::Released | EndReason::Forced | EndReason::Deleted => return true,
            };
            self.record_end(event, None, ended, reason);
            false
        });
        self.ended = ended;
    }

    /// Records grants that ended in a later change than the one that answered their release: an open transaction kept
    /// their guard row locked.
    fn record_other_ends(&mut self) {
        for ended in std::mem::take(&mut self.ended) {
            let event = match ended.how {
                EndReason::Forced => AuditEvent::Forced,
                EndReason::Deleted => AuditEvent::Deleted,
                EndReason::Released | EndReason::GivenBack | EndReason::Expired => AuditEvent::Released,
            };
            self.record_end(event, None, ended, None);
        }
    }

    fn record_end(&self, event: AuditEvent, origin: Option<&Origin>, ended: &Ended, reason: Option<&str>) {
        let is_new =
            self.change.effects.granted.as_ref().is_some_and(|granted| granted.contains(&ended.version));
        let token = if is_new { Token(ended.token.0 + self.change.raised) } else { ended.token };
        self.log.record(&AuditRecord {
            owner: Some(&ended.owner),
            version: Some(ended.version),
            fencing_token: Some(token),
            status: origin.map(|_| 200),
            reason,
            ..self.new_record(event, origin, self.kind())
        });
    }

    /// Records the answer to a command.
    fn record_reply(&mut self, request: &'a PendingRequest, reply: &Reply) {
        let origin = request.origin.as_deref();
        match &request.command {
            Command::Acquire(acquire) => {
                self.record_answer(origin.map(|origin| (origin, &acquire.owner)), reply);
            }
            Command::Leave { request_id, .. } => self.record_answer(self.caller(*request_id), reply),
            Command::Release(release) => {
                self.record_release(origin, EndReason::Released, Some(release.version), None);
            }
            Command::ForceRelease(ForcedRelease { version, reason, .. }) => {
                self.record_release(origin, EndReason::Forced, *version, reason.as_ref());
            }
            Command::DeleteLock { .. } | Command::DeleteSemaphore if *reply == Reply::Deleted => {
                self.record_deletion(request);
            }
            Command::PutSemaphore { .. } if matches!(reply, Reply::Semaphore { created: false, .. }) => {
                let record = self.new_record(AuditEvent::Resized, origin, Kind::Semaphore);
                self.log.record(&AuditRecord { status: Some(200), ..record });
            }
            // This command replaced an acquire that was applied after all.
            _ => self.record_answer(None, reply),
        }
    }

    /// Records a release that ended a grant. A release that changed nothing is not recorded.
    fn record_release(
        &mut self,
        origin: Option<&'a Origin>,
        how: EndReason,
        version: Option<Version>,
        reason: Option<&Reason>,
    ) {
        let is_it =
            |ended: &&Ended| ended.how == how && version.is_none_or(|version| version == ended.version);
        let Some(index) = self.ended.iter().position(is_it) else { return };
        let ended = self.ended.remove(index);
        let event = if how == EndReason::Forced { AuditEvent::Forced } else { AuditEvent::Released };
        self.record_end(event, origin, ended, reason.map(Reason::as_str));
    }

    fn record_deletion(&mut self, request: &'a PendingRequest) {
        let (kind, held) = match request.command {
            Command::DeleteSemaphore => (Kind::Semaphore, None),
            _ => (Kind::Mutex, self.ended.iter().position(|ended| ended.how == EndReason::Deleted)),
        };
        let held = held.map(|index| self.ended.remove(index));
        self.log.record(&AuditRecord {
            owner: held.map(|held| &held.owner),
            version: held.map(|held| held.version),
            fencing_token: held.map(|held| held.token),
            status: Some(204),
            ..self.new_record(AuditEvent::Deleted, request.origin.as_deref(), kind)
        });
    }

    /// Records the answer to an acquire, given at once or after a wait. A grant that existed before is not recorded
    /// again.
    fn record_answer(&mut self, caller: RequestCaller<'a>, reply: &Reply) {
        match reply {
            Reply::Granted(view) => self.record_grant(caller, view),
            Reply::Refused(Refusal::NotGranted(not_granted)) => {
                let origin = caller.map(|(origin, _)| origin);
                let reason = match not_granted.reason {
                    NotGrantedReason::NoWait => "no_wait",
                    NotGrantedReason::TimedOut => "timed_out",
                    NotGrantedReason::GuardedTransaction => "guarded_transaction",
                };
                self.log.record(&AuditRecord {
                    owner: caller.map(|(_, owner)| owner),
                    status: Some(423),
                    reason: Some(reason),
                    ..self.new_record(AuditEvent::Refused, origin, self.kind())
                });
            }
            _ => {}
        }
    }

    fn record_grant(&mut self, caller: RequestCaller<'a>, view: &LockView) {
        let Some(held) = &view.held else { return };
        let Some(index) = self.granted.iter().position(|version| *version == held.version) else { return };
        self.granted.swap_remove(index);
        let kind = if view.is_permit { Kind::Semaphore } else { Kind::Mutex };
        self.log.record(&AuditRecord {
            time: held.acquired_at,
            owner: Some(&held.owner),
            version: Some(held.version),
            fencing_token: Some(Token(view.fencing_token.0 + self.change.raised)),
            status: Some(200),
            ..self.new_record(AuditEvent::Granted, caller.map(|(origin, _)| origin), kind)
        });
    }
}
