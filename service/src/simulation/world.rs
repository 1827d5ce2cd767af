//! The world of a simulation: one database, several replicas that come and go, clients, and faults.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{rngs::SmallRng, seq::IndexedRandom};

use super::{
    checker::Checker,
    database::{CLOCK_STARTS_AT, Database},
    plan::{LIVELY_MS, Plan, RECOVERY_MS, Stream, stream},
    process::Process,
    record::Record,
};
use crate::{
    LockService,
    domain::{Key, KeyId, Kind, Tenant, Version},
    engine::Engine,
};

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
    pub(super) fn remember_version(&self, version: Version) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).push(version);
    }

    /// A version of an earlier grant, which most probably has ended.
    pub(super) fn ended_version(&self, random: &mut SmallRng) -> Option<Version> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.choose(random).copied()
    }
}
