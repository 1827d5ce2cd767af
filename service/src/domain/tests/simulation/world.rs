//! The world: what happens when, and what has to hold when it has become quiet.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use super::{
    clients::Client,
    database::Database,
    ledger::{Entry, Ledger, current},
    replica::{Replica, Statement, nonce},
};
use crate::domain::{Command, Kind, Now, Place, ReplicaId, Stamp, Version};

/// How long faults happen, in milliseconds.
pub(super) const LIVELY_MS: i64 = 60_000;
/// When clients begin nothing new any more. Between the two nothing fails, and little happens but that leases end.
pub(super) const CALM_MS: i64 = 85_000;
/// How long everything may take to become quiet and stay so.
const QUIET_MS: i64 = 40_000;
/// When what failed is over: who was paused is back, and who is dead is known to be.
const RECOVERED_MS: i64 = LIVELY_MS + 10_000;
/// How long a free place may have a living waiter then: a hint is lost, and the next look finds what it was for.
const SERVED_WITHIN_MS: i64 = 700;

/// Something that will happen.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Decide { replica: usize },
    Load { replica: usize },
    Commit { replica: usize },
    Timer { replica: usize, at: i64 },
    Nudged { replica: usize },
    Look { replica: usize },
    Deadline { replica: usize, request: i64 },
    GiveBack { replica: usize, command: Command },
    Dead { observer: usize, replica: ReplicaId },
    Cleared { observer: usize, replica: ReplicaId },
    PassedOver { replica: usize },
    Act { client: usize },
    Late { statement: Statement },
    Chaos,
}

/// What happened in a run, to see that it was not idle.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) commits: u64,
    pub(super) granted: u64,
    pub(super) lost_races: u64,
    pub(super) lost_answers: u64,
    pub(super) late: u64,
    pub(super) crashes: u64,
    pub(super) pauses: u64,
    pub(super) steps: u64,
    pub(super) waited: u64,
    pub(super) superseded: u64,
    pub(super) given_back: u64,
    pub(super) passed_over: u64,
}

/// Everything there is.
pub(super) struct World {
    pub(super) random: SmallRng,
    pub(super) now: i64,
    pub(super) kind: Kind,
    pub(super) database: Database,
    pub(super) replicas: Vec<Replica>,
    pub(super) clients: Vec<Client>,
    pub(super) ledger: Ledger,
    pub(super) totals: Totals,
    /// By request: whose it is.
    pub(super) requests: BTreeMap<i64, usize>,
    /// Requests that are under way: the replica that sees to them, and their version.
    pub(super) pending: BTreeMap<i64, (usize, Version)>,
    /// Versions that were asked for when the replica crashed that saw to it.
    pub(super) orphaned: BTreeSet<Version>,
    /// To which requests each grant was answered, whether that reached somebody or not.
    pub(super) answered: BTreeMap<Version, BTreeSet<i64>>,
    /// Writes whose commands were answered by another decision: they must never be applied.
    pub(super) answered_otherwise: BTreeSet<Uuid>,
    /// How much is loaded and remembered unless more is asked for.
    pub(super) bound: usize,
    events: BTreeMap<(i64, u64), (Event, u64)>,
    serial: u64,
    hungry_since: i64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let kind = if random.random_bool(0.5) { Kind::Mutex } else { Kind::Semaphore };
        let replicas = (0..random.random_range(1..=3)).map(|n| Replica::new(ReplicaId(Uuid::from_u128(n))));
        let replicas: Vec<_> = replicas.collect();
        let bound = random.random_range(1..=8);
        let clients = (0..random.random_range(2..=9)).map(|_| Client::default()).collect::<Vec<_>>();
        let database = Database { clock_offset: 1_000_000, ..Database::default() };
        let mut world = Self {
            random,
            now: 0,
            kind,
            database,
            replicas,
            clients,
            ledger: Ledger::default(),
            totals: Totals::default(),
            requests: BTreeMap::new(),
            pending: BTreeMap::new(),
            orphaned: BTreeSet::new(),
            answered: BTreeMap::new(),
            answered_otherwise: BTreeSet::new(),
            bound,
            events: BTreeMap::new(),
            serial: 0,
            hungry_since: 0,
        };
        if kind == Kind::Semaphore {
            world.send(
                0,
                Command::PutSemaphore {
                    max_size: 2,
                    lease_ms: None,
                    default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
                },
            );
        }
        for client in 0..world.clients.len() {
            world.after(50..1_000, Event::Act { client });
        }
        for replica in 0..world.replicas.len() {
            world.after(100..300, Event::Look { replica });
        }
        world.after(500..2_000, Event::Chaos);
        world
    }

    pub(super) fn clock(&self) -> i64 {
        self.now + self.database.clock_offset
    }

    /// What a replica knows of the database's time.
    pub(super) fn reading(&mut self) -> Now {
        let at = self.clock();
        let (least, most) = (self.random.random_range(0..4), self.random.random_range(0..4));
        Now { at_least: crate::domain::Timestamp(at - least), at_most: crate::domain::Timestamp(at + most) }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn stamp(&mut self) -> Stamp {
        Stamp(Uuid::from_u128(self.next_serial().into()))
    }

    pub(super) fn after(&mut self, delay: std::ops::Range<i64>, event: Event) {
        let at = self.now + self.random.random_range(delay);
        self.at(at, event);
    }

    pub(super) fn at(&mut self, at: i64, event: Event) {
        let life = event.replica().map_or(0, |replica| self.replicas[replica].life);
        let serial = self.next_serial();
        self.events.insert((at.max(self.now), serial), (event, life));
    }

    pub(super) fn run(mut self) -> Totals {
        while let Some(((at, _), (event, life))) = self.events.pop_first() {
            if at > CALM_MS + QUIET_MS {
                break;
            }
            self.now = at;
            self.ledger.clock(self.clock());
            if let Some(index) = event.replica() {
                let replica = &self.replicas[index];
                if replica.life != life || !replica.alive {
                    continue;
                }
                if replica.paused_until > at {
                    let resumes = replica.paused_until;
                    self.at(resumes, event);
                    continue;
                }
            }
            self.happen(event);
            self.check_served();
        }
        self.check_left_behind();
        self.totals.commits = self.ledger.commits;
        self.totals.granted = self.ledger.granted;
        self.totals
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Decide { replica } => self.decide(replica),
            Event::Load { replica } => self.load(replica),
            Event::Commit { replica } => self.commit(replica),
            Event::Timer { replica, at } => {
                if self.replicas[replica].timer == Some(at) {
                    self.replicas[replica].timer = None;
                    self.send(replica, Command::Settle);
                }
            }
            Event::Nudged { replica } => self.send(replica, Command::Settle),
            Event::Look { replica } => self.look(replica),
            Event::Deadline { replica, request } => self.deadline(replica, request),
            Event::GiveBack { replica, command } => self.send(replica, command),
            Event::Dead { observer, replica } => self.learn_dead(observer, replica),
            Event::Cleared { observer, replica } => drop(self.replicas[observer].suspects.remove(&replica)),
            Event::PassedOver { replica } => self.evict(replica),
            Event::Act { client } => self.act(client),
            Event::Late { statement } => self.apply_late(&statement),
            Event::Chaos => self.chaos(),
        }
    }

    /// Invariant 6, once nothing fails any more: nobody who could be served waits beside a free place.
    fn check_served(&mut self) {
        let places = self.database.places();
        let clock = self.clock();
        let standing =
            current(&self.database).into_values().filter(|grant| grant.stands(Now::exactly(clock)));
        let free = standing.count() < places;
        let living = |place: &Place| match place {
            Place::Attached { replica, .. } => self
                .replicas
                .iter()
                .any(|known| known.id == *replica && known.alive && known.paused_until <= self.now),
            Place::Detached { .. } => false,
        };
        let hungry = free && self.database.waiters.values().any(|waiter| living(&waiter.place));
        if !hungry || self.now < RECOVERED_MS {
            self.hungry_since = self.now;
        }
        let since = self.now - self.hungry_since;
        assert!(since <= SERVED_WITHIN_MS, "invariant 6: a place was free and waited for during {since} ms");
    }

    /// Grants that stand, although nobody was told of them.
    fn untold(&self) -> impl Iterator<Item = Version> {
        let clock = self.clock();
        let standing = move |entry: &Entry| entry.stands() && entry.expires_at > clock;
        let untold = move |version: &Version| !self.clients.iter().any(|client| client.was_told(*version));
        let grants = self.ledger.grants.iter().filter(move |(_, entry)| standing(entry));
        grants.map(|(version, _)| *version).filter(untold)
    }

    /// Whether a grant may stand although nobody was told of it: its replica crashed before it could take it back, or it was
    /// answered to another than it was made for, and none of the two knows that the other does not rely on it.
    fn is_excused(&self, version: Version) -> bool {
        let made_for = self.ledger.grants[&version].made_for;
        let shared = |answered: &BTreeSet<_>| answered.iter().any(|request| nonce(*request) != made_for);
        self.orphaned.contains(&version) || self.answered.get(&version).is_some_and(shared)
    }

    /// A grant that nobody will give back before its lease ends.
    pub(super) fn left_behind(&self) -> Option<Version> {
        self.untold().find(|version| self.is_excused(*version))
    }

    /// Invariants 6 and 7 at the end: nobody waits beside a free place, and who holds has been told so.
    fn check_left_behind(&self) {
        for version in self.untold() {
            assert!(self.is_excused(version), "invariant 7: {version:?} holds, and nobody was told");
        }
        let waiting = self.database.waiters.len();
        assert!(waiting == 0, "{waiting} places are kept for nobody: {:?}", self.database.waiters);
    }
}

impl Event {
    fn replica(&self) -> Option<usize> {
        match self {
            Self::Decide { replica }
            | Self::Load { replica }
            | Self::Commit { replica }
            | Self::Timer { replica, .. }
            | Self::Nudged { replica }
            | Self::Look { replica }
            | Self::Deadline { replica, .. }
            | Self::GiveBack { replica, .. }
            | Self::PassedOver { replica }
            | Self::Dead { observer: replica, .. }
            | Self::Cleared { observer: replica, .. } => Some(*replica),
            Self::Act { .. } | Self::Late { .. } | Self::Chaos => None,
        }
    }
}

impl Totals {
    pub(super) fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.granted += other.granted;
        self.lost_races += other.lost_races;
        self.lost_answers += other.lost_answers;
        self.late += other.late;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.steps += other.steps;
        self.waited += other.waited;
        self.superseded += other.superseded;
        self.given_back += other.given_back;
        self.passed_over += other.passed_over;
    }

    /// Everything that the simulation is for did happen.
    pub(super) const fn is_eventful(&self) -> bool {
        self.commits > 1_000
            && self.granted > 500
            && self.lost_races > 20
            && self.lost_answers > 20
            && self.late > 20
            && self.crashes > 2
            && self.pauses > 2
            && self.steps > 2
            && self.waited > 100
            && self.superseded > 5
            && self.given_back > 5
            && self.passed_over > 2
    }
}
