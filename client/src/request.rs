//! Builds and sends a request for a lock.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::LeaseInstant,
    error::{LockError, LockResult},
    guard::{LockGuard, LockHandle},
    lease::Lease,
    models::LockItem,
    options::{AcquireLockOptions, ReleaseLockOptions},
    random,
    renewal::Renewal,
    service::LockService,
};

/// The default lease.
const DEFAULT_LEASE: Duration = Duration::from_secs(15);
/// How long the client tries to release what an acquire without an answer may have been granted. The service itself releases a
/// grant that it could not deliver, after 10 s.
const GIVE_BACK: Duration = Duration::from_secs(10);

/// A request for a lock, to be sent by [`acquire`](Self::acquire).
#[must_use = "nothing is asked for before `acquire`"]
pub struct LockRequest {
    service: Arc<dyn LockService>,
    renewal: Arc<Renewal>,
    options: AcquireLockOptions,
    lease: Duration,
    wait: Option<Duration>,
}

impl LockRequest {
    pub(crate) fn new(
        service: Arc<dyn LockService>,
        renewal: Arc<Renewal>,
        key: String,
        uses_semaphore: bool,
    ) -> Self {
        let options = AcquireLockOptions { key, uses_semaphore, ..AcquireLockOptions::default() };
        Self { service, renewal, options, lease: DEFAULT_LEASE, wait: None }
    }

    /// Sets how long the lock stays held after the last heartbeat. Default: 15 s. Heartbeats are sent every third of this time.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how long to wait for the lock. Default: as long as the lease. A service that is out of reach is tried again until then.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Fails at once if the service answers 503, instead of trying again while there is time. If the request had waited in the queue
    /// before that answer, it is tried again all the same. If the service is shutting down, it is tried again for
    /// up to 10 s.
    pub fn fail_when_turned_away(mut self) -> Self {
        self.options.fails_when_turned_away = true;
        self
    }

    /// Sets the owner, which others can see. Default: the client's owner.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.options.owner = Some(owner.into());
        self
    }

    /// Sets the text to store with the lock, in place of the stored text.
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.options.data = Some(data.into());
        self.options.replace_data = (!self.options.uses_semaphore).then_some(true);
        self
    }

    /// Guards the lock from this grant on: transactions in the database can check that the grant is still valid.
    pub fn guarded(mut self) -> Self {
        self.options.guarded = Some(true);
        self
    }

    /// Waits in the queue for the lock. Dropping the future leaves the queue.
    pub async fn acquire(self) -> LockResult<LockGuard> {
        let Self { service, renewal, mut options, lease, wait } = self;
        options.lease_duration_ms = millis(lease);
        if options.lease_duration_ms == 0 {
            // Zero would select the service's default.
            return Err(LockError::Validation("the lease: must be at least 1 ms".to_owned()));
        }
        options.override_time_to_wait_for_lock_ms = Some(millis(wait.unwrap_or(lease)));
        let version = random::version().to_string();
        options.version = Some(version.clone());
        let undo = GiveBack { renewal: &renewal, release: Some(release_options(&options, version)) };
        let grant = match service.acquire_lock(&options).await {
            Ok(grant) => grant,
            Err(error) => {
                if !error.is_outcome_unknown() {
                    undo.disarm();
                }
                return Err(error);
            }
        };
        let grant = refresh(&*service, &options, grant, lease).await?;
        let lease = Lease::of(grant, options.uses_semaphore)
            .ok_or_else(|| LockError::InvalidAnswer("a grant without version, owner or lease".to_owned()))?;
        if lease.is_lost() {
            return Err(LockError::Lost("the lease ended before the answer arrived".to_owned()));
        }
        undo.disarm();
        Ok(LockGuard::new(lease, renewal))
    }

    /// Acquires the lock only if it is free now; `None` if it is held.
    pub async fn try_acquire(self) -> LockResult<Option<LockGuard>> {
        match self.wait(Duration::ZERO).acquire().await {
            Ok(guard) => Ok(Some(guard)),
            Err(LockError::NotGranted(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs `body` under the lock, then releases the lock. If the lock is lost, the future of `body` is dropped and the result is
    /// [`LockError::Lost`].
    ///
    /// ```no_run
    /// # async fn example(client: db_locks::Client) -> Result<(), db_locks::LockError> {
    /// let rows = client.lock("report").with_lock(|lock| async move { write_report(lock.fencing_token()).await }).await?;
    /// # Ok(())
    /// # }
    /// # async fn write_report(fencing_token: u64) -> usize { 0 }
    /// ```
    pub async fn with_lock<F, T>(self, body: impl FnOnce(LockHandle) -> F) -> LockResult<T>
    where
        F: Future<Output = T>,
    {
        let guard = self.acquire().await?;
        let result = {
            let body = body(guard.handle());
            tokio::select! {
                biased;
                () = guard.lost() => return Err(LockError::Lost("no heartbeat succeeded in time".to_owned())),
                result = body => result,
            }
        };
        match guard.release().await {
            Err(LockError::Lost(why)) => Err(LockError::Lost(why)),
            // The work was done under the lock. A failed release does not make it fail.
            Ok(()) | Err(_) => Ok(result),
        }
    }
}

impl std::fmt::Debug for LockRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockRequest").field("key", &self.options.key).finish_non_exhaustive()
    }
}

/// Renews a grant that waited in the queue for long. The lease counts from when the request was sent, so the wait has used up
/// a part of it.
async fn refresh(
    service: &dyn LockService,
    options: &AcquireLockOptions,
    grant: LockItem,
    lease: Duration,
) -> LockResult<LockItem> {
    if grant.remaining() > lease * 2 / 3 {
        return Ok(grant);
    }
    let mut heartbeat = grant.to_heartbeat_options();
    heartbeat.uses_semaphore = options.uses_semaphore;
    let until = LeaseInstant::now().plus(lease);
    loop {
        match service.send_heartbeat(&heartbeat).await {
            Err(error) if error.retryable() && !until.remaining().is_zero() => {
                tokio::time::sleep(random::jitter(lease / 20)).await;
            }
            answer => return answer,
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn release_options(options: &AcquireLockOptions, version: String) -> ReleaseLockOptions {
    let release = ReleaseLockOptions::new(options.key.clone(), version, None, None);
    ReleaseLockOptions { uses_semaphore: options.uses_semaphore, ..release }
}

/// Releases what an acquire may have been granted, unless its answer arrived.
struct GiveBack<'a> {
    renewal: &'a Renewal,
    release: Option<ReleaseLockOptions>,
}

impl GiveBack<'_> {
    fn disarm(mut self) {
        self.release = None;
    }
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            self.renewal.give_back(release, LeaseInstant::now().plus(GIVE_BACK));
        }
    }
}
