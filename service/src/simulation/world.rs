//! The world of a simulation: one database, several replicas that come and go, clients, and faults.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    checker::Checker,
    client::Client,
    database::{CLOCK_STARTS_AT, Connection, Database},
    plan::{LIVELY_MS, Plan, QUIET_MS, RECOVERY_MS, Stream, stream},
    process::Process,
    record::Record,
    request::Ask,
};
use crate::{
    Limits, LockService,
    audit::AuditLog,
    domain::{DataEdit, Key, KeyId, Kind, Release, ReplicaId, Tenant, Version},
    engine::{Engine, EngineOptions, SweepOptions},
    simulation::hooks::Entered,
};

/// The time for which a replica has to run before its waiters have to be served in time: until then the others may
/// believe that it is dead.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// The time for which a release waits for the end of a transaction that called the guard.
pub(super) const GUARD_WAIT: Duration = Duration::from_secs(5);

/// A replica that runs.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) process: Arc<Process>,
    pub(super) service: LockService,
    pub(super) engine: Arc<Engine>,
    /// The number of pauses.
    pub(super) pauses: usize,
}

/// The state of the world.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) keys: Vec<(KeyId, Kind)>,
    pub(super) record: Arc<Record>,
    pub(super) database: Arc<Database>,
    replicas: Mutex<Vec<Option<Replica>>>,
    /// Granted versions, for clients that use versions of others.
    versions: Mutex<Vec<Version>>,
    random: Mutex<SmallRng>,
}

impl World {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        let quiet_from = LIVELY_MS + RECOVERY_MS;
        let record = Record::new(Checker::new(CLOCK_STARTS_AT, quiet_from, plan.served_from()));
        let kind = |semaphore: bool| if semaphore { Kind::Semaphore } else { Kind::Mutex };
        let name = |number: usize| ["a", "b", "c"][number % 3];
        let id = |number| KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(name(number)) };
        let keys = plan.keys.iter().enumerate().map(|(number, &semaphore)| (id(number), kind(semaphore)));
        Arc::new(Self {
            keys: keys.collect(),
            database: Database::new(&plan, record.clone()),
            record,
            replicas: Mutex::new(vec![None; plan.replicas]),
            versions: Mutex::default(),
            random: Mutex::new(stream(plan.seed, Stream::World)),
            plan,
        })
    }

    /// Whether clients ask for this key to be guarded.
    pub(super) fn is_guarded(&self, id: &KeyId) -> bool {
        let number = self.keys.iter().position(|(key, _)| key == id);
        number.is_some_and(|number| self.plan.guarded[number])
    }

    pub(super) fn at(&self) -> i64 {
        self.record.at()
    }

    pub(super) fn replicas(&self) -> MutexGuard<'_, Vec<Option<Replica>>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a version that a client was answered.
    pub(super) fn db_time(&self, version: Version) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).push(version);
    }

    /// A version of an earlier grant, which most probably has ended.
    pub(super) fn ended_version(&self, random: &mut SmallRng) -> Option<Version> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.choose(random).copied()
    }

    /// Runs until everything has become quiet, or the checker found an error.
    pub(super) async fn run(self: &Arc<Self>) {
        for replica in 0..self.plan.replicas {
            self.start(replica, 0);
        }
        for (id, kind) in self.keys.clone() {
            if kind == Kind::Semaphore {
                self.call(99, 0, &id, Ask::PutSemaphore(2), None).await;
            }
        }
        for number in 0..self.plan.clients {
            tokio::spawn(Client::new(self.clone(), number).live());
        }
        self.make_trouble();
        tokio::spawn(self.clone().watch());
        let end =
            Instant::now() + Duration::from_millis((LIVELY_MS + RECOVERY_MS + QUIET_MS).cast_unsigned());
        tokio::select! {
            biased;
            () = self.record.failed.notified() => {}
            () = sleep_until(end) => {
                let clock = self.database.clock();
                self.record.check(|checker, _| checker.check_left_behind(clock));
            }
        }
    }

    /// Starts an incarnation of a replica, and another one whenever it ends.
    fn start(self: &Arc<Self>, number: usize, life: usize) {
        let plan = &self.plan;
        let order = stream(plan.seed, Stream::Order(number, life));
        let ids = stream(plan.seed, Stream::Ids(number, life));
        let process = Process::new(life, plan.defer, order, ids);
        let store = Connection::new(self.database.clone(), number, life);
        let entered = Entered::new(&process);
        let engine = Engine::start(store.clone(), options(plan), AuditLog::off());
        drop(entered);
        let service = LockService::new(engine.clone(), store, Limits::default());
        self.record.note(&format!("replica {number} starts"));
        self.replicas()[number] = Some(Replica { process: process.clone(), service, engine, pauses: 0 });
        let world = self.clone();
        tokio::spawn(async move {
            process.ended.notified().await;
            world.replicas()[number] = None;
            if let Some(panic) = process.panic() {
                world.record.fail(format!("replica {number} panics: {panic}"));
            }
            world.record.note(&format!("replica {number} is gone"));
            let members = world.record.members();
            let ended =
                members.iter().filter(|(_, member)| **member == (number, life)).map(|(name, _)| *name);
            world.record.tell(|checker, at| {
                checker.replica_stops(at);
                checker.replica_gone(number, ended);
            });
            let down = world.draw(|random| random.random_range(1..5_000));
            sleep(Duration::from_millis(down)).await;
            world.start(number, life + 1);
        });
    }

    /// Checks again and again that waiters are served.
    async fn watch(self: Arc<Self>) {
        let mut freed = false;
        loop {
            sleep(Duration::from_millis(100)).await;
            if !freed && self.at() >= LIVELY_MS + RECOVERY_MS / 2 {
                freed = true;
                tokio::spawn(self.clone().free_what_is_left());
            }
            let clock = self.database.clock();
            let members = self.record.members();
            let replicas = self.replicas().clone();
            let lives = |member: ReplicaId| {
                members.get(&member).is_some_and(|(number, life)| {
                    replicas[*number].as_ref().is_some_and(|replica| {
                        replica.process.life == *life && replica.process.has_run(SETTLED_AFTER)
                    })
                })
            };
            let runs_for = replicas.iter().flatten().map(|replica| replica.process.runs_for()).max();
            self.record
                .check(|checker, at| checker.check_served(at, clock, lives, runs_for.unwrap_or_default()));
        }
    }

    /// Ends grants that nobody will give back, as an operator, since nothing would happen otherwise.
    async fn free_what_is_left(self: Arc<Self>) {
        let left = self.record.check(|checker, at| Ok(checker.left_over(at))).unwrap_or_default();
        for (id, version) in left {
            let kind = self.keys.iter().find(|(key, _)| *key == id).map_or(Kind::Mutex, |(_, kind)| *kind);
            for number in 0..self.plan.replicas {
                let release = Release { kind, version, data: DataEdit::Keep, delete_lock: false };
                self.call(98, number, &id, Ask::Release(release), None).await;
            }
        }
    }
}

fn options(plan: &Plan) -> EngineOptions {
    EngineOptions {
        guard_wait: GUARD_WAIT,
        shards: plan.shards,
        memory_bytes: 1 << 20,
        max_queued: 1_000,
        max_queue_wait: Duration::from_secs(2),
        max_waiters_per_key: 100,
        max_waiters_per_tenant: 1_000,
        max_waiters: 1_000,
        max_bytes_per_tenant: u64::MAX,
        sweep: SweepOptions {
            period_ms: 2_000,
            expired_delete_after_ms: 500,
            idle_lock_retention_ms: Some(4_000),
            // Longer than any cache keeps a key, and than any statement is under way.
            tombstone_retention_ms: 14_000,
            floor_settle_ms: 8_000,
        },
    }
}
