//! For how long a command tries to get a lock, and whether that holds for a service that is away, too.

use std::time::Duration;

use db_locks::{Client, LeaseInstant, LockError, LockService};

use super::{
    args::{ConnectArgs, WaitArgs},
    connect,
    exit::Failure,
};

/// The pauses between two tries to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a command waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    until: LeaseInstant,
    is_asked_for: bool,
}

impl Wait {
    /// As the arguments say, from now on.
    pub(super) fn of(args: &WaitArgs, default: Duration) -> Self {
        let wait = args.wait.map_or(if args.no_wait { Duration::ZERO } else { default }, |wait| wait.0);
        Self { until: LeaseInstant::now().plus(wait), is_asked_for: args.wait.is_some() }
    }

    /// Whether `--wait` was given. Only who asks to wait waits for a service that is away; others wait for the lock.
    pub(super) fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }

    /// How long the lock can be waited for yet.
    pub(super) fn rest(&self) -> Duration {
        self.until.remaining()
    }

    /// A client. A database, unlike a service, is connected to at once.
    pub(super) async fn connect(&self, args: &ConnectArgs) -> Result<Client, Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            match connect(args).await {
                Err(Failure::Lock(error))
                    if error.retryable() && self.is_asked_for && !self.rest().is_zero() =>
                {
                    tokio::time::sleep(pause.min(self.rest())).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// Unless `--wait` was given, fails if the service is out of reach. What breaks later does so while the lock is waited for.
    pub(super) async fn require_service(&self, service: &dyn LockService, key: &str) -> Result<(), Failure> {
        if self.is_asked_for || self.rest().is_zero() {
            return Ok(());
        }
        match service.get_lock(key).await {
            // The acquire gives it time to start again.
            Err(error) if error.is_shutting_down() => Ok(()),
            Err(error @ (LockError::Unreachable(_) | LockError::Unavailable { .. })) => Err(error.into()),
            // What else it answers, the acquire will be answered too.
            _ => Ok(()),
        }
    }
}
