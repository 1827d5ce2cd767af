//! How long a command tries to get a lock, and whether it also waits for a service that is away.

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
    /// The wait that the arguments ask for, from now on.
    pub(super) fn of(args: &WaitArgs, default: Duration) -> Self {
        let wait = args.wait.map_or(if args.no_wait { Duration::ZERO } else { default }, |wait| wait.0);
        Self { until: LeaseInstant::now().plus(wait), is_asked_for: args.wait.is_some() }
    }

    /// Whether `--wait` was given. Only with it a command also waits for a service that is away.
    pub(super) fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }

    /// The rest of the waiting time.
    pub(super) fn rest(&self) -> Duration {
        self.until.remaining()
    }

    /// Creates the client. With the URL of a database this already connects, so it is repeated during the wait.
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

    /// Fails if the service is out of reach, unless `--wait` was given. The acquire itself repeats later failures.
    pub(super) async fn require_service(&self, service: &dyn LockService, key: &str) -> Result<(), Failure> {
        if self.is_asked_for || self.rest().is_zero() {
            return Ok(());
        }
        match service.get_lock(key).await {
            // The acquire gives the service time to start again.
            Err(error) if error.is_shutting_down() => Ok(()),
            Err(error @ (LockError::Unreachable(_) | LockError::Unavailable { .. })) => Err(error.into()),
            // The acquire will get any other error as well.
            _ => Ok(()),
        }
    }
}
