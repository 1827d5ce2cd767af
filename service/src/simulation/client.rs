//! Clients: their requests, and their behaviour without an answer. They act like users: they choose versions or not,
//! repeat unanswered requests at another replica, hang up, let leases end, release unknown versions, resize and delete.

use std::{sync::Arc, time::Duration};

use rand::{Rng, rngs::SmallRng};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    plan::{LIVELY_MS, Plan, QUIET_MS, RECOVERY_MS, Stream, stream},
    request::{Answer, Ask},
    worker::Work,
    world::World,
};
use crate::{
    AcquireRequest,
    domain::{Data, DataEdit, KeyId, Kind, LockView, Owner, Release, Version},
};

/// A lease that ends after the simulation, so that the checker sees grants that are left behind.
const LONG_LEASE_MS: i64 = 600_000;

/// The number of times that a client repeats an unanswered request.
const MOST_TRIES: usize = 4;

/// One client, with one request at a time.
pub(super) struct Client {
    world: Arc<World>,
    number: usize,
    random: SmallRng,
    requests: usize,
}

impl Client {
    pub(super) fn new(world: Arc<World>, number: usize) -> Self {
        let random = stream(world.plan.seed, Stream::Client(number));
        Self { world, number, random, requests: 0 }
    }

    /// Sends one request after another.
    pub(super) async fn live(mut self) {
        while self.world.at() < LIVELY_MS {
            self.pause(20, 900).await;
            self.act().await;
        }
        // Nothing fails any more. The clients wait for each other, so long that only a wake-up ends the wait.
        let calm = LIVELY_MS + RECOVERY_MS;
        while self.world.at() < calm {
            self.pause(200, 2_000).await;
        }
        while self.world.at() < calm + QUIET_MS / 6 {
            let (id, kind) = self.key();
            let ask = self.acquire(kind, self.random.clone().random_range(4_000..6_000));
            self.take(&id, kind, ask).await;
            self.pause(100, 1_000).await;
        }
    }

    async fn pause(&mut self, least: u64, most: u64) {
        let ms = self.random.random_range(least..most);
        sleep(Duration::from_millis(ms)).await;
    }

    fn key(&mut self) -> (KeyId, Kind) {
        let number = self.random.random_range(0..self.world.keys.len());
        self.world.keys[number].clone()
    }

    fn replica(&mut self) -> usize {
        self.random.random_range(0..self.world.plan.replicas)
    }

    fn version(&mut self) -> Version {
        Version(uuid::Builder::from_random_bytes(self.random.random()).into_uuid())
    }

    /// Creates data that no other request has.
    fn data(&mut self) -> Data {
        self.requests += 1;
        Data::trusted(&format!("d{}-{}", self.number, self.requests))
    }

    async fn act(&mut self) {
        let (id, kind) = self.key();
        let ask = match (kind, self.random.random_range(0..20)) {
            (Kind::Mutex, 0) => Ask::PutLock(self.data()),
            (Kind::Mutex, 1) => Ask::DeleteLock(self.some_version()),
            (Kind::Semaphore, 0) => Ask::DeleteSemaphore,
            (Kind::Semaphore, 1..=2) => Ask::PutSemaphore(self.random.random_range(1..=4)),
            (_, 3) => Ask::Get(kind),
            (_, 4) => match self.some_version() {
                // A version of another client, or one that ended long ago. The request acts on that grant or on
                // nothing.
                Some(version) => self.heartbeat(kind, version),
                None => Ask::Get(kind),
            },
            (_, 5) => match Some(self.version()) {
                Some(version) => self.release(kind, version),
                None => Ask::Get(kind),
            },
            (_, 6) => match self.world.ended_version(&mut self.random) {
                Some(version) if version.0.as_u128() % 2 == 0 => Ask::Force { kind, version },
                Some(version) => self.release(kind, version),
                None => Ask::Get(kind),
            },
            (_, 7) => {
                let ask = self.acquire(kind, 0);
                return self.take(&id, kind, ask).await;
            }
            _ => {
                let wait_ms = self.random.random_range(1..6_000);
                let ask = self.acquire(kind, wait_ms);
                return self.take(&id, kind, ask).await;
            }
        };
        let replica = self.replica();
        self.world.call(self.number, replica, &id, ask, None).await;
    }

    /// A version of any grant.
    fn some_version(&mut self) -> Option<Version> {
        let version = self.world.ended_version(&mut self.random);
        version.filter(|_| self.random.random_bool(0.7))
    }

    fn heartbeat(&mut self, kind: Kind, version: Version) -> Ask {
        let data = if self.random.random_bool(0.2) { DataEdit::Set(self.data()) } else { DataEdit::Keep };
        Ask::Heartbeat { kind, version, lease_ms: None, data }
    }

    fn release(&mut self, kind: Kind, version: Version) -> Ask {
        let delete_lock = kind == Kind::Mutex && self.random.random_bool(0.1);
        Ask::Release(Release { kind, version, data: DataEdit::Keep, delete_lock })
    }

    fn acquire(&mut self, kind: Kind, wait_ms: i64) -> Ask {
        let is_mutex = kind == Kind::Mutex;
        let reentrant = is_mutex && self.random.random_bool(0.15);
        let owner = if reentrant || self.random.random_bool(0.1) {
            format!("team {}", self.number / 2)
        } else {
            self.requests += 1;
            format!("c{}-{}", self.number, self.requests)
        };
        let lease_ms = match self.random.random_range(0..10) {
            0..3 => LONG_LEASE_MS,
            3 => self.random.random_range(1..30),
            _ => self.random.random_range(100..5_000),
        };
        let has_data = self.random.random_bool(0.3);
        let chosen = self.random.random_bool(0.5);
        Ask::Acquire(AcquireRequest {
            kind,
            owner: Owner::trusted(&owner),
            lease_ms: Some(lease_ms),
            wait_ms: Some(wait_ms),
            additional_wait_ms: 0,
            data: has_data.then(|| self.data()),
            replace_data: is_mutex && self.random.random_bool(0.3),
            delete_on_release: is_mutex && self.random.random_bool(0.1),
            only_if_exists: is_mutex && self.random.random_bool(0.1),
            reentrant,
            guarded: false,
            version: chosen.then(|| self.version()),
        })
    }

    /// Acquires a grant, uses it and releases it. An unanswered request with a chosen version is repeated.
    async fn take(&mut self, id: &KeyId, kind: Kind, mut ask: Ask) {
        let Ask::Acquire(AcquireRequest { version: chosen, guarded, .. }) = &mut ask else { return };
        let chosen = chosen.is_some();
        *guarded = self.world.is_guarded(id) && self.random.random_bool(0.9);
        let begins_early = *guarded && self.random.random_bool(0.15);
        let early = if begins_early { self.world.database.begin(id) } else { None };
        self.try_to_take(id, kind, ask, chosen, early).await;
        if let Some(early) = early {
            self.world.database.end(early, false);
        }
    }

    async fn try_to_take(&mut self, id: &KeyId, kind: Kind, ask: Ask, chosen: bool, early: Option<u64>) {
        if chosen && self.world.at() < LIVELY_MS && self.random.random_bool(0.1) {
            self.ask_beside(id, &ask);
        }
        for tries in 0..MOST_TRIES {
            let (replica, hangs_up) = (self.replica(), self.hangs_up(&ask));
            match self.world.call(self.number, replica, id, ask.clone(), hangs_up).await {
                Some(Answer::Granted(view)) => {
                    if tries > 0 && self.random.random_bool(0.3) {
                        // The client relies on the grant for longer than the grant of a lost answer is kept.
                        self.pause(10_000, 12_000).await;
                    }
                    return self.hold(id, kind, &ask, &view, early).await;
                }
                None | Some(Answer::Unavailable(_)) if chosen && self.random.random_bool(0.7) => {
                    self.pause(10, 1_500).await;
                }
                _ => return,
            }
        }
    }

    /// Sends the same request once more while the first one waits, as a proxy may do.
    fn ask_beside(&mut self, id: &KeyId, ask: &Ask) {
        let (world, number, id, ask) = (self.world.clone(), self.number, id.clone(), ask.clone());
        let (replica, after) = (self.replica(), self.random.random_range(0..1_500));
        tokio::spawn(async move {
            sleep(Duration::from_millis(after)).await;
            world.call(number, replica, &id, ask, None).await;
        });
    }

    /// The time of the hang-up, if there is one, in milliseconds after the request.
    fn hangs_up(&mut self, ask: &Ask) -> Option<u64> {
        let hang_ups = self.world.plan.hang_ups;
        let wait_ms = u64::try_from(ask.wait_ms()).unwrap_or(0);
        let does = self.world.at() < LIVELY_MS && hang_ups > 0.0 && self.random.random_bool(hang_ups);
        does.then(|| self.random.random_range(1..wait_ms + 20))
    }

    /// Writes under the guard of the grant, with one or several workers at a time, and mostly waits for them.
    async fn work(&mut self, id: &KeyId, version: Version, mut early: Option<u64>) {
        for _ in 0..self.random.random_range(1..4) {
            let is_lively = Plan::is_lively(self.world.at());
            let database = self.world.database.clone();
            let work = Work::of(&mut self.random, &database, is_lively, early.take());
            let work = tokio::spawn(work.carry_out(database, id.clone(), version));
            if self.random.random_bool(0.6) {
                let _ = work.await;
            }
        }
    }

    async fn hold(&mut self, id: &KeyId, kind: Kind, ask: &Ask, view: &LockView, early: Option<u64>) {
        let Some(held) = &view.held else { return };
        let version = held.version;
        if self.world.is_guarded(id) {
            self.work(id, version, early).await;
        }
        let leases_long = view.lease_ms == LONG_LEASE_MS;
        for _ in 0..self.random.random_range(0..4) {
            self.pause(1, 1_200).await;
            match self.random.random_range(0..10) {
                // A proxy repeats the request.
                0 if ask_is_chosen(ask) => {
                    let replica = self.replica();
                    self.world.call(self.number, replica, id, ask.clone(), None).await;
                }
                _ => {
                    let heartbeat = self.heartbeat(kind, version);
                    let replica = self.replica();
                    let answer = self.world.call(self.number, replica, id, heartbeat, None).await;
                    if matches!(answer, Some(Answer::Refused(_))) {
                        return self.world.record.let_go(self.number, version);
                    }
                }
            }
        }
        if !leases_long && self.random.random_bool(0.15) {
            // The client vanishes: its lease has to end by itself.
            return;
        }
        for _ in 0..MOST_TRIES {
            let (release, replica) = (self.release(kind, version), self.replica());
            match self.world.call(self.number, replica, id, release, None).await {
                None | Some(Answer::Unavailable(_)) => self.pause(10, 1_500).await,
                Some(_) => break,
            }
        }
        self.world.record.let_go(self.number, version);
    }
}

const fn ask_is_chosen(ask: &Ask) -> bool {
    matches!(ask, Ask::Acquire(AcquireRequest { version: Some(Version(Uuid { .. })), .. }))
}
