//! [`LockService`] over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    answer,
    endpoints::{Call, Connection, Endpoints, Repeat, check_key},
};
use crate::{
    clock::LeaseInstant,
    config::LocksConfig,
    error::{LockError, LockResult},
    models::{LockItem, Page, Semaphore},
    options::{AcquireLockOptions, DeleteLockOptions, ListOptions, ReleaseLockOptions, SendHeartbeatOptions},
    random,
    retry::Retry,
    service::LockService,
};

/// The time limit at each URL for a call that does not wait in a queue. The service answers 503 after 5 s at the latest.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The minimum time limit of a heartbeat at one URL. The requested lease may be short while the current one is long.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

/// A db-locks service over HTTP, at one or more URLs.
#[derive(Debug)]
pub struct HttpLockService {
    endpoints: Endpoints,
    owner: Option<String>,
    least_timeout: Duration,
}

impl HttpLockService {
    /// Prepares the calls to a service. Connects at the first call.
    pub fn new(config: &LocksConfig) -> LockResult<Self> {
        let (endpoints, owner) = (Endpoints::new(config)?, config.owner.clone());
        Ok(Self { endpoints, owner, least_timeout: LEAST_TIMEOUT })
    }

    /// A service for the renewal thread: all URLs are tried within a third of the lease, when the next heartbeat is due.
    pub(crate) fn of_renewal(config: &LocksConfig) -> LockResult<Self> {
        Ok(Self { least_timeout: Duration::from_millis(1), ..Self::new(config)? })
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> LockResult<T> {
        let connection = Connection::Own;
        let call = Call { method: Method::POST, path, timeout, repeat: Repeat::Safe, connection };
        answer::read(self.endpoints.send(&call, |request| request.json(body)).await?).await
    }

    /// Sends a `POST` about a grant. Returns the answer with the time at which the request was sent to the first URL: if that URL did
    /// not answer, the lease counts from too early, which is safe.
    async fn post_for_grant(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> LockResult<LockItem> {
        let sent_at = LeaseInstant::now();
        let item = self.post::<LockItem>(path, body, timeout).await?;
        Ok(LockItem { sent_at: Some(sent_at), ..item })
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &ListOptions) -> LockResult<T> {
        let (timeout, connection) = (TIMEOUT, Connection::Shared);
        let call = Call { method: Method::GET, path, timeout, repeat: Repeat::Safe, connection };
        answer::read(self.endpoints.send(&call, |request| request.query(query)).await?).await
    }

    async fn delete(&self, path: &[&str], version: Option<&str>) -> LockResult<()> {
        let (timeout, connection) = (TIMEOUT, Connection::Shared);
        let call = Call { method: Method::DELETE, path, timeout, repeat: Repeat::Unsafe, connection };
        let query = version.map(|version| [("version", version)]);
        self.endpoints.send(&call, |request| request.query(&query)).await?;
        Ok(())
    }

    /// One attempt of an acquire that may wait until `deadline`.
    async fn acquire_once(
        &self,
        options: &AcquireLockOptions,
        deadline: LeaseInstant,
    ) -> LockResult<LockItem> {
        let sent_at = LeaseInstant::now();
        let path = [collection(options.uses_semaphore), &options.key, "acquire"];
        let timeout = deadline.remaining() + TIMEOUT;
        let connection = Connection::Shared;
        let call = Call { method: Method::POST, path: &path, timeout, repeat: Repeat::Safe, connection };
        let fill = |request: RequestBuilder| {
            // An earlier URL may have used some of the time.
            let wait_ms = i64::try_from(deadline.remaining().as_millis()).unwrap_or(i64::MAX);
            request.json(&AcquireLockOptions {
                override_time_to_wait_for_lock_ms: Some(wait_ms),
                additional_time_to_wait_for_lock_ms: None,
                ..options.clone()
            })
        };
        let item = answer::read::<LockItem>(self.endpoints.send(&call, fill).await?).await?;
        Ok(LockItem { sent_at: Some(sent_at), ..item })
    }
}

/// The first segment of the path: for locks or for permits.
fn collection(uses_semaphore: bool) -> &'static str {
    if uses_semaphore { "semaphores" } else { "locks" }
}

/// Rejects a grant without a version, which could not be renewed or released.
fn check_grant<'a>(key: &'a str, version: Option<&String>) -> LockResult<&'a str> {
    if version.is_none() {
        return Err(LockError::Validation(format!("{key}: no version, since nobody holds it")));
    }
    check_key(key)
}

#[async_trait]
impl LockService for HttpLockService {
    async fn acquire_lock(&self, options: &AcquireLockOptions) -> LockResult<LockItem> {
        check_key(&options.key)?;
        let mut options = options.clone();
        // One version for all attempts: after a lost answer, the repeat gets the same grant.
        options.version.get_or_insert_with(|| random::version().to_string());
        options.owner = options.owner.or_else(|| self.owner.clone());
        let wait = Duration::from_millis(u64::try_from(options.wait_ms()).unwrap_or_default());
        let deadline = LeaseInstant::now().plus(wait);
        let mut retry = Retry::until(deadline);
        loop {
            let error = match self.acquire_once(&options, deadline).await {
                Err(error) if error.retryable() => error,
                answer => return answer,
            };
            if (options.fails_when_turned_away && retry.is_turned_away(&error)) || !retry.pause().await {
                return Err(error);
            }
        }
    }

    async fn send_heartbeat(&self, options: &SendHeartbeatOptions) -> LockResult<LockItem> {
        let key = check_grant(&options.key, options.version.as_ref())?;
        if options.lease_duration_ms.is_some_and(|lease| lease < 1) {
            // A timeout around the whole call would hide the cause.
            return Err(LockError::Validation("lease_duration_ms: must be at least 1".to_owned()));
        }
        // A third of the lease for all URLs together, since the next heartbeat is due then.
        let third = options.lease_duration_ms.and_then(|lease| u64::try_from(lease / 3).ok());
        let share = third.map_or(TIMEOUT, Duration::from_millis).min(TIMEOUT) / self.endpoints.count();
        let path = [collection(options.uses_semaphore), key, "heartbeat"];
        self.post_for_grant(&path, options, share.max(self.least_timeout)).await
    }

    async fn release_lock(&self, options: &ReleaseLockOptions) -> LockResult<LockItem> {
        let names_none = options.force == Some(true) && options.version.is_none();
        let key = match &options.version {
            None if names_none => check_key(&options.key)?,
            version => check_grant(&options.key, version.as_ref())?,
        };
        let path = [collection(options.uses_semaphore), key, "release"];
        // A forced release without a version is not repeated: it might end the next grant too.
        let repeat = if names_none { Repeat::Unsafe } else { Repeat::Safe };
        let (timeout, connection) = (TIMEOUT, Connection::Own);
        let call = Call { method: Method::POST, path: &path, timeout, repeat, connection };
        answer::read(self.endpoints.send(&call, |request| request.json(options)).await?).await
    }

    async fn get_lock(&self, key: &str) -> LockResult<LockItem> {
        let sent_at = LeaseInstant::now();
        let item = self.get::<LockItem>(&["locks", check_key(key)?], &ListOptions::default()).await?;
        Ok(LockItem { sent_at: Some(sent_at), ..item })
    }

    async fn list_locks(&self, options: &ListOptions) -> LockResult<Page<LockItem>> {
        self.get(&["locks"], options).await
    }

    async fn delete_lock(&self, options: &DeleteLockOptions) -> LockResult<()> {
        self.delete(&["locks", check_key(&options.key)?], options.version.as_deref()).await
    }

    async fn create_semaphore(&self, semaphore: &Semaphore) -> LockResult<Semaphore> {
        let path = ["semaphores", check_key(&semaphore.key)?];
        let (timeout, connection) = (TIMEOUT, Connection::Shared);
        let call = Call { method: Method::PUT, path: &path, timeout, repeat: Repeat::Unsafe, connection };
        // A lease of zero leaves the semaphore's default lease unchanged.
        let lease = Some(semaphore.lease_duration_ms).filter(|lease| *lease > 0);
        let guarded = semaphore.guarded.then_some(true);
        let body = serde_json::json!({
            "max_size": semaphore.max_size, "lease_duration_ms": lease, "guarded": guarded,
        });
        answer::read(self.endpoints.send(&call, |request| request.json(&body)).await?).await
    }

    async fn get_semaphore(&self, key: &str) -> LockResult<Semaphore> {
        self.get(&["semaphores", check_key(key)?], &ListOptions::default()).await
    }

    async fn list_semaphores(&self, options: &ListOptions) -> LockResult<Page<Semaphore>> {
        self.get(&["semaphores"], options).await
    }

    async fn list_permits(&self, key: &str, options: &ListOptions) -> LockResult<Page<LockItem>> {
        self.get(&["semaphores", check_key(key)?, "permits"], options).await
    }

    async fn delete_semaphore(&self, options: &DeleteLockOptions) -> LockResult<()> {
        self.delete(&["semaphores", check_key(&options.key)?], None).await
    }
}
