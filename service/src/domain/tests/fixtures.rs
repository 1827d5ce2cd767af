//! A key for tests: its state between commands, a clock, and the replica that decides.

use std::{collections::BTreeSet, sync::Arc};

use uuid::Uuid;

use crate::domain::{
    Acquire, Command, Context, Data, DataEdit, Decided, Effects, Heartbeat, Holder, Key, KeyChange, KeyId,
    KeyState, Kind, LockView, Now, Owner, Refusal, Release, ReplicaId, Reply, RequestFlags, RequestId,
    RowVersion, SemaphoreView, Suspects, Tenant, Verdict, Version,
};

/// The replica that decides by default, and another one.
pub(super) const ME: ReplicaId = ReplicaId(Uuid::from_u128(1));
pub(super) const OTHER: ReplicaId = ReplicaId(Uuid::from_u128(2));

/// The database time at which tests begin.
pub(super) const START: i64 = 1_000_000;

pub(super) fn key() -> KeyId {
    KeyId { tenant: Tenant::new("t").unwrap(), key: Key::new("k").unwrap() }
}

pub(super) fn v(n: u128) -> Version {
    Version(Uuid::from_u128(n))
}

pub(super) fn data(text: &str) -> Data {
    Data::new(text).unwrap()
}

/// An acquire of a lock for a second that does not wait. Each number has its own owner and version; its request id is
/// the number.
pub(super) fn ask(n: u16) -> Acquire {
    Acquire {
        kind: Kind::Mutex,
        owner: Owner::new(&format!("owner {n}")).unwrap(),
        lease_ms: Some(1_000),
        wait_ms: Some(0),
        additional_wait_ms: 0,
        max_wait_ms: 600_000,
        data: None,
        replace_data: false,
        delete_on_release: false,
        only_if_exists: false,
        version: v(n.into()),
        chosen: false,
        retried: false,
        request_id: RequestId(n.into()),
    }
}

/// An acquire that waits for 5 s.
pub(super) fn wait(n: u16) -> Acquire {
    Acquire { wait_ms: Some(5_000), ..ask(n) }
}

/// An acquire that waits for 5 s and whose caller chose the version.
pub(super) fn wait_chosen(n: u16) -> Acquire {
    Acquire { chosen: true, ..wait(n) }
}

/// The acquire made reentrant: an active grant of the same owner is an answer.
pub(super) fn reentrant(acquire: Acquire) -> Acquire {
    let random = acquire.request_id.0.cast_unsigned() << 1;
    let flags = RequestFlags { reentrant: true, guarded: false };
    Acquire { request_id: RequestId::new(random, flags), ..acquire }
}

/// A key, the time, and the replica that decides.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) state: KeyState,
    pub(super) now: i64,
    pub(super) me: Option<ReplicaId>,
    pub(super) dead: BTreeSet<ReplicaId>,
    pub(super) suspects: Suspects,
    pub(super) max_waiters: i64,
    /// Whether the tenant has reached its storage limit.
    pub(super) is_over_storage: bool,
    /// The answers to waiters and the replicas notified by the last command.
    pub(super) effects: (Vec<(RequestId, Reply)>, BTreeSet<ReplicaId>),
    /// Whether the last command wrote.
    pub(super) wrote: bool,
    pub(super) writes: u128,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self {
            state: KeyState::absent(),
            now: START,
            me: Some(ME),
            dead: BTreeSet::new(),
            suspects: Suspects::default(),
            max_waiters: 1_000,
            is_over_storage: false,
            effects: (Vec::new(), BTreeSet::new()),
            wrote: false,
            writes: 0,
        }
    }

    /// A lock that number 1 holds for a second.
    pub(super) fn held() -> Self {
        let mut scene = Self::new();
        scene.granted(ask(1));
        scene
    }

    /// A semaphore of this size.
    pub(super) fn semaphore(max_size: i32) -> Self {
        let mut scene = Self::new();
        scene.run(&Command::PutSemaphore {
            max_size,
            lease_ms: None,
            default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
            guarded: None,
        });
        scene
    }

    /// The context of decisions.
    pub(super) fn context(&self) -> Context {
        Context {
            me: self.me,
            dead: Arc::new(self.dead.clone()),
            suspects: Arc::new(self.suspects.clone()),
            over_storage: Arc::new(self.is_over_storage.then(|| key().tenant).into_iter().collect()),
            max_waiters_per_key: self.max_waiters,
            ..Context::alone(Now::exactly(self.now))
        }
    }

    /// Decides a command without applying the change.
    pub(super) fn decide(&self, command: &Command) -> (Decided, KeyChange) {
        let mut state = self.state.clone();
        state.queue.asked.extend(command.named_version());
        let mut change = KeyChange::new(key(), state);
        let decided = change.decide(command, &self.context());
        (decided, change)
    }

    /// Decides a command and applies the change.
    pub(super) fn run(&mut self, command: &Command) -> Verdict {
        let (decided, change) = self.decide(command);
        let verdict = decided.unwrap();
        // Guards invariant 1: loaded rows may be old, so no grant is reported as active without a write.
        assert!(
            change.dirty || !matches!(verdict, Verdict::Reply(Reply::Granted(_))),
            "unproved: {verdict:?}"
        );
        self.wrote = change.dirty;
        self.state = *change.state;
        self.state.queue.trim(usize::MAX);
        if change.dirty {
            self.writes += 1;
            self.state.row_version = Some(RowVersion(Uuid::from_u128(self.writes)));
        } else {
            assert!(change.cleared_from.is_none() && change.permits.is_empty() && change.waiters.is_empty());
        }
        let Effects { answered, notified, .. } = change.effects;
        self.effects = (answered, notified);
        verdict
    }

    pub(super) fn reply(&mut self, command: &Command) -> Reply {
        match self.run(command) {
            Verdict::Reply(reply) => reply,
            other => panic!("no reply: {other:?}"),
        }
    }

    pub(super) fn acquire(&mut self, acquire: Acquire) -> Verdict {
        self.run(&Command::Acquire(acquire))
    }

    pub(super) fn granted(&mut self, acquire: Acquire) -> LockView {
        match self.acquire(acquire) {
            Verdict::Reply(Reply::Granted(view)) => view,
            other => panic!("not granted: {other:?}"),
        }
    }

    pub(super) fn waits(&mut self, acquire: Acquire) {
        let verdict = self.acquire(acquire);
        assert!(matches!(verdict, Verdict::Waiting { .. }), "does not wait: {verdict:?}");
    }

    pub(super) fn refused(&mut self, command: &Command) -> Refusal {
        match self.reply(command) {
            Reply::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(super) fn refused_acquire(&mut self, acquire: Acquire) -> Refusal {
        self.refused(&Command::Acquire(acquire))
    }

    pub(super) fn release(&mut self, n: u16) -> LockView {
        match self.reply(&release(n)) {
            Reply::Released(view) => view,
            other => panic!("not released: {other:?}"),
        }
    }

    pub(super) fn look(&mut self) -> LockView {
        match self.reply(&Command::Get(Kind::Mutex)) {
            Reply::Lock { view, .. } => view,
            other => panic!("no lock: {other:?}"),
        }
    }

    pub(super) fn look_semaphore(&mut self) -> SemaphoreView {
        match self.reply(&Command::Get(Kind::Semaphore)) {
            Reply::Semaphore { view, .. } => view,
            other => panic!("no semaphore: {other:?}"),
        }
    }

    /// The request ids of the waiters that the last command granted.
    pub(super) fn served(&self) -> Vec<i64> {
        let granted = self.effects.0.iter().filter(|(_, reply)| matches!(reply, Reply::Granted(_)));
        granted.map(|(request_id, _)| request_id.0).collect()
    }

    /// The waiters of this replica that the last command refused, with the refusals.
    pub(super) fn dismissed(&self) -> Vec<(i64, Refusal)> {
        let refused = self.effects.0.iter().filter_map(|(request_id, reply)| match reply {
            Reply::Refused(refusal) => Some((request_id.0, refusal.clone())),
            _ => None,
        });
        refused.collect()
    }

    /// The version of the grant that holds the lock.
    pub(super) fn holder(&mut self) -> Option<Version> {
        self.look().held.map(|held| held.version)
    }
}

pub(super) fn release(n: u16) -> Command {
    Command::Release(Release {
        kind: Kind::Mutex,
        version: v(n.into()),
        data: DataEdit::Keep,
        delete_lock: false,
    })
}

pub(super) fn give_back(n: u16, request_id: i64) -> Command {
    Command::GiveBack { version: v(n.into()), request_id: RequestId(request_id) }
}

pub(super) fn beat(n: u16) -> Heartbeat {
    Heartbeat {
        kind: Kind::Mutex,
        version: v(n.into()),
        lease_ms: None,
        data: DataEdit::Keep,
        request_id: RequestId(i64::from(n) + 10_000),
    }
}

pub(super) fn owners(holders: &[Holder]) -> Vec<&str> {
    holders.iter().map(|holder| holder.owner.as_str()).collect()
}
