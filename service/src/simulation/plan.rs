//! The plan of a seed: the size of the world, and its faults. Each seed has some faults often, some rarely and some
//! never, so that no fault hides the effects of another.

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// The time for which clients are busy and faults happen, in milliseconds.
pub(super) const LIVELY_MS: i64 = 16_000;
/// The time for recovery after that: paused replicas are back, and dead ones are known to be dead.
pub(super) const RECOVERY_MS: i64 = 12_000;
/// The time without faults after that, longer than an undelivered grant or a detached waiter's place is kept.
pub(super) const QUIET_MS: i64 = 14_000;

/// The probabilities of each fault of a single statement.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatementFaults {
    /// The statement is executed, and its answer is lost.
    pub(super) lost_answer: f64,
    /// The statement never reaches the database, and its sender cannot know that.
    pub(super) lost_statement: f64,
    /// The sender gives up, and the statement is executed some time before or after that.
    pub(super) late: f64,
    /// A deadlock.
    pub(super) transient: f64,
    /// The database refuses it.
    pub(super) refused: f64,
    /// No connection.
    pub(super) unreachable: f64,
    /// The statement is slow.
    pub(super) slow: f64,
}

/// The mean number of each larger fault while clients are busy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WorldFaults {
    pub(super) crashes: f64,
    pub(super) drains: f64,
    pub(super) pauses: f64,
    pub(super) clock_steps: f64,
    pub(super) outages: f64,
    pub(super) blocked_rows: f64,
    /// A standby that lacks the last commits is promoted.
    pub(super) failovers: f64,
    /// An operator raises the epoch of tokens.
    pub(super) raises: f64,
}

/// Everything that the seed decides before a simulation begins.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    pub(super) shards: usize,
    pub(super) clients: usize,
    /// The keys, and whether each is a semaphore.
    pub(super) keys: Vec<bool>,
    /// Whether clients ask for guarded grants of each key.
    pub(super) guarded: Vec<bool>,
    /// Whether the database pushes notifications.
    pub(super) pushes: bool,
    /// The share of notifications that are lost.
    pub(super) lost_notifications: f64,
    /// The number of waiters and permits that are loaded and cached, if not the usual one.
    pub(super) view_size: Option<usize>,
    /// The probability that a poll of a task is delayed.
    pub(super) defer: f64,
    pub(super) statements: StatementFaults,
    pub(super) world: WorldFaults,
    /// The probability that a client hangs up on a request.
    pub(super) hang_ups: f64,
    /// The probability that an answer is lost between the service and a client.
    pub(super) lost_answers: f64,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = stream(seed, Stream::Plan);
        let random = &mut random;
        let replicas = random.random_range(1..=3);
        let keys = random.random_range(1..=3);
        let views = random.random_bool(0.4);
        let mut plan = Self {
            seed,
            replicas,
            shards: random.random_range(1..=2),
            clients: random.random_range(3..=8),
            keys: (0..keys).map(|_| random.random_bool(0.4)).collect(),
            guarded: Vec::new(),
            pushes: random.random_bool(0.5),
            lost_notifications: some(random, 0.3),
            view_size: views.then(|| random.random_range(1..=6)),
            defer: some(random, 0.4),
            statements: StatementFaults {
                lost_answer: some(random, 0.1),
                lost_statement: some(random, 0.1),
                late: some(random, 0.1),
                transient: some(random, 0.1),
                refused: some(random, 0.02),
                unreachable: some(random, 0.05),
                slow: some(random, 0.2),
            },
            world: WorldFaults {
                crashes: some(random, 4.0),
                drains: some(random, 2.0),
                pauses: some(random, 4.0),
                clock_steps: some(random, 3.0),
                outages: some(random, 1.5),
                blocked_rows: some(random, 3.0),
                ..WorldFaults::default()
            },
            hang_ups: some(random, 0.3),
            lost_answers: some(random, 0.2),
        };
        match random.random_range(0..10) {
            // Without faults, to find errors that do not depend on them.
            0 => (plan.statements, plan.world) = <_>::default(),
            // Only replicas fail: the others take over in time.
            1 | 2 => {
                let (crashes, pauses) = (random.random_range(0.0..2.0), random.random_range(0.0..2.0));
                plan.statements = StatementFaults::default();
                plan.world = WorldFaults { crashes, pauses, ..WorldFaults::default() };
            }
            _ => {
                if random.random_bool(0.15) {
                    plan.world.failovers = random.random_range(0.5..2.5);
                }
                if random.random_bool(0.15) {
                    plan.world.raises = random.random_range(0.5..2.0);
                }
            }
        }
        let guards = random.random_bool(0.4);
        plan.guarded = plan.keys.iter().map(|_| guards && random.random_bool(0.7)).collect();
        plan
    }

    /// The time from which waiters have to be served in time.
    pub(super) fn served_from(&self) -> i64 {
        let faults = self.statements;
        let statements = faults.lost_answer + faults.lost_statement + faults.late + faults.transient;
        let statements = statements + faults.refused + faults.unreachable + faults.slow;
        let world = self.world.clock_steps + self.world.outages + self.world.blocked_rows + self.world.drains;
        let world = world + self.world.failovers + self.world.raises;
        if statements + world > 0.0 { LIVELY_MS + RECOVERY_MS } else { 0 }
    }

    /// The time when faults end, and clients begin no long requests any more, in milliseconds.
    pub(super) const fn is_lively(at: i64) -> bool {
        at < LIVELY_MS
    }
}

/// Nothing, or up to `most`.
fn some(random: &mut SmallRng, most: f64) -> f64 {
    if random.random_bool(0.5) { random.random_range(0.0..most) } else { 0.0 }
}

/// The users of random numbers that have a stream of their own, so that another number of draws in one place changes
/// nothing in the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Plan,
    World,
    Database,
    Client(usize),
    /// The order of tasks of an incarnation of a replica.
    Order(usize, usize),
    /// The ids of an incarnation of a replica.
    Ids(usize, usize),
}

/// A stream of a seed.
pub(super) fn stream(seed: u64, stream: Stream) -> SmallRng {
    let number = match stream {
        Stream::Plan => 0,
        Stream::World => 1,
        Stream::Database => 2,
        Stream::Client(client) => 1_000 + client,
        Stream::Order(replica, life) => 1_000_000 + replica * 1_000 + life,
        Stream::Ids(replica, life) => 2_000_000 + replica * 1_000 + life,
    };
    let number = u64::try_from(number).unwrap_or(0);
    SmallRng::seed_from_u64(
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd134_2543_de82_ef95),
    )
}
