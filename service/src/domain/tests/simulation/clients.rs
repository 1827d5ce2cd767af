//! Clients: what they want, what they were told, and what they do when they were told nothing.

use rand::Rng;
use uuid::Uuid;

use super::{
    replica::nonce,
    world::{CALM_MS, Event, LIVELY_MS, World},
};
use crate::domain::{Acquire, Command, DataEdit, Heartbeat, Kind, Nonce, Owner, Release, Reply, Version};

/// A lease that ends after the simulation does: what is left behind with it is seen.
const LONG_LEASE_MS: i64 = 600_000;

/// What a client is at.
#[derive(Debug, Default, Clone)]
enum Stage {
    #[default]
    Idle,
    /// It sent a request and listens.
    Asking { request: i64, replica: usize },
    /// It was told that it holds.
    Holding { until: i64 },
}

/// One client, with one thing at a time.
#[derive(Debug, Default)]
pub(super) struct Client {
    stage: Stage,
    version: Option<Version>,
    chosen: bool,
    /// The last request, kept to repeat it.
    last: Option<Acquire>,
    /// All versions that it was told it holds.
    told: Vec<Version>,
}

impl Client {
    /// Whether the client was answered 200 with this version.
    pub(super) fn was_told(&self, version: Version) -> bool {
        self.told.contains(&version)
    }

    /// Whether its lease outlasts the simulation: it has to be given back.
    fn leases_long(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.lease_ms == Some(LONG_LEASE_MS))
    }
}

impl World {
    /// Whether somebody still waits for the answer to a request.
    pub(super) fn listens(&self, wanted: i64) -> bool {
        let client = self.requests.get(&wanted).map(|client| &self.clients[*client].stage);
        matches!(client, Some(Stage::Asking { request, .. }) if *request == wanted)
    }

    /// Whether the caller of a request chose its version.
    pub(super) fn chose(&self, request: i64) -> bool {
        self.requests.get(&request).is_some_and(|client| self.clients[*client].chosen)
    }

    /// Answers a request. Returns whether the answer reached somebody.
    pub(super) fn told(&mut self, request: i64, reply: &Reply) -> bool {
        if !self.listens(request) {
            return false;
        }
        let (long, short) = (self.random.random_range(11_000..16_000), self.random.random_range(1..4_000));
        let client = &mut self.clients[self.requests[&request]];
        // Who has a long lease may rely on it for longer than the grant of a lost answer is kept.
        let hold = self.now + if client.leases_long() && request % 3 == 0 { long } else { short };
        client.stage = match reply {
            Reply::Granted(view) => {
                client.version = view.held.as_ref().map(|held| held.version);
                client.told.extend(client.version);
                Stage::Holding { until: hold }
            }
            _ => Stage::Idle,
        };
        true
    }

    /// A heartbeat was answered.
    pub(super) fn heard(&mut self, version: Version, reply: &Reply) {
        if matches!(reply, Reply::Refused(_)) {
            self.released(version);
        }
    }

    /// A grant is over for its client.
    pub(super) fn released(&mut self, version: Version) {
        for client in &mut self.clients {
            if client.version == Some(version) && matches!(client.stage, Stage::Holding { .. }) {
                client.stage = Stage::Idle;
            }
        }
    }

    /// A client does its next thing.
    pub(super) fn act(&mut self, index: usize) {
        self.after(20..1_500, Event::Act { client: index });
        let replica = self.random.random_range(0..self.replicas.len());
        match self.clients[index].stage.clone() {
            Stage::Idle if self.now < LIVELY_MS => {
                if self.clients[index].chosen
                    && self.clients[index].last.is_some()
                    && self.random.random_bool(0.3)
                {
                    self.repeat(index, replica);
                } else {
                    self.ask(index, replica);
                }
            }
            Stage::Idle if self.now < CALM_MS && self.random.random_bool(0.15) => self.ask(index, replica),
            Stage::Idle => {}
            Stage::Asking { request, replica: at } => {
                if self.now < LIVELY_MS && self.random.random_bool(0.1) {
                    self.clients[index].stage = Stage::Idle;
                    if self.replicas[at].alive {
                        self.hung_up(at, request);
                    }
                } else if self.clients[index].chosen && self.now < LIVELY_MS && self.random.random_bool(0.1) {
                    self.repeat(index, replica);
                }
            }
            Stage::Holding { until } => self.hold(index, replica, until),
        }
    }

    fn hold(&mut self, index: usize, replica: usize, until: i64) {
        let Some(version) = self.clients[index].version else { return };
        if self.now < until && self.clients[index].leases_long() {
            if self.clients[index].chosen && self.now < LIVELY_MS && self.random.random_bool(0.1) {
                self.replay(index, replica);
            }
            return;
        }
        if self.now < until {
            let nonce = nonce(self.next_request(index, false));
            let (kind, lease_ms) = (self.kind, None);
            let heartbeat = Heartbeat { kind, version, lease_ms, data: DataEdit::Keep, nonce };
            return self.send(replica, Command::Heartbeat(heartbeat));
        }
        if !self.clients[index].leases_long() && self.random.random_bool(0.15) && self.now < CALM_MS {
            // It vanishes: its lease has to end by itself.
            self.clients[index].stage = Stage::Idle;
            return;
        }
        let delete_lock = self.kind == Kind::Mutex && self.random.random_bool(0.1);
        let release = Release { kind: self.kind, version, data: DataEdit::Keep, delete_lock };
        self.send(replica, Command::Release(release));
        if self.random.random_bool(0.5) {
            self.clients[index].stage = Stage::Idle;
        }
    }

    /// A request's number is its nonce.
    fn next_request(&mut self, client: usize, reentrant: bool) -> i64 {
        let Nonce(request) = Nonce::new(self.next_serial() << 1, reentrant);
        self.requests.insert(request, client);
        request
    }

    fn ask(&mut self, index: usize, replica: usize) {
        let reentrant = self.kind == Kind::Mutex && self.random.random_bool(0.15);
        let request = self.next_request(index, reentrant);
        let version = Version(Uuid::from_u128(self.next_serial().into()));
        let chosen = self.random.random_bool(0.5);
        let lease_ms = match self.random.random_range(0..10) {
            0..3 => LONG_LEASE_MS,
            // It may have ended when the timer for it is set.
            3..5 => self.random.random_range(1..30),
            _ => self.random.random_range(50..9_000),
        };
        let wait_ms = match self.random.random_range(0..10) {
            // Long enough for nothing but a timer to end it, where one is missing.
            _ if self.now >= LIVELY_MS => self.random.random_range(10_000..30_000),
            0..2 => 0,
            _ => self.random.random_range(1..9_000),
        };
        let acquire = Acquire {
            kind: self.kind,
            owner: Owner::new(&format!("owner {}", index / 2)).unwrap(),
            lease_ms: Some(lease_ms),
            wait_ms: Some(wait_ms),
            additional_wait_ms: 0,
            max_wait_ms: 600_000,
            data: None,
            replace_data: false,
            delete_on_release: self.kind == Kind::Mutex && self.random.random_bool(0.1),
            only_if_exists: false,
            reentrant,
            version,
            chosen,
            retried: false,
            nonce: nonce(request),
        };
        let client = &mut self.clients[index];
        client.chosen = chosen;
        client.last = Some(acquire.clone());
        client.stage = Stage::Asking { request, replica };
        self.send_acquire(replica, acquire);
    }

    fn send_acquire(&mut self, replica: usize, acquire: Acquire) {
        self.pending.insert(acquire.nonce.0, (replica, acquire.version));
        self.send(replica, Command::Acquire(acquire));
    }

    /// The same once more, perhaps elsewhere, with the version that it chose.
    fn repeat(&mut self, index: usize, replica: usize) {
        if let Some(request) = self.replay(index, replica) {
            self.clients[index].stage = Stage::Asking { request, replica };
        }
    }

    /// A proxy sends it once more, and nobody listens to the answer.
    fn replay(&mut self, index: usize, replica: usize) -> Option<i64> {
        let last = self.clients[index].last.clone()?;
        let request = self.next_request(index, last.reentrant);
        self.send_acquire(replica, Acquire { nonce: nonce(request), retried: false, ..last });
        Some(request)
    }

    /// Whether a client relies on a grant that it was told of.
    pub(super) fn relies_on(&self, version: Version) -> bool {
        let relies = |client: &Client| {
            client.version == Some(version) && matches!(client.stage, Stage::Holding { .. })
        };
        self.clients.iter().any(relies)
    }

    /// A replica is gone, and the connections to it.
    pub(super) fn lose_connections(&mut self, gone: usize) {
        for client in &mut self.clients {
            if matches!(client.stage, Stage::Asking { replica, .. } if replica == gone) {
                client.stage = Stage::Idle;
            }
        }
    }

    /// Somebody resizes, deletes, looks or sweeps.
    pub(super) fn administer(&mut self, replica: usize) {
        if let Some(version) = self.left_behind() {
            // An operator frees it, or nothing would happen any more.
            let (kind, data) = (self.kind, DataEdit::Keep);
            return self.send(replica, Command::Release(Release { kind, version, data, delete_lock: false }));
        }
        let max_size = self.random.random_range(1..=4);
        let command = match (self.kind, self.random.random_range(0..4)) {
            (Kind::Semaphore, 0) => Command::DeleteSemaphore,
            (Kind::Semaphore, _) => Command::PutSemaphore {
                max_size,
                lease_ms: None,
                default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
            },
            (Kind::Mutex, 0) => Command::PutLock { data: None },
            (Kind::Mutex, 1) => Command::DeleteLock { version: None },
            (Kind::Mutex, 2) => Command::Get(Kind::Mutex),
            (Kind::Mutex, _) => {
                let ended_before = crate::domain::Timestamp(self.clock());
                Command::Sweep { ended_before, idle_since: Some(ended_before) }
            }
        };
        self.send(replica, command);
    }
}
