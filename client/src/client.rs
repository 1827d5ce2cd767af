//! The client: a service, and the renewal of the locks held there.

use std::{ops::Deref, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    config::LocksConfig, error::LockResult, http::HttpLockService, renewal::Renewal, request::LockRequest,
    service::LockService,
};

/// Connects to the service at `url`; several URLs are separated by commas. Sends nothing before the first call.
///
/// With the feature `embedded`, `url` may be the URL of a database. This process then runs the engine itself. It migrates the
/// database's schema first, unless [`LocksConfig::with_migrations`] turned that off.
///
/// If the engine panics, this process goes on, but the client is unusable: all its locks are
/// [lost](crate::LockHandle::lost), and all calls return [`LockError::EngineFailed`](crate::LockError::EngineFailed).
/// Connect again. (With `panic = "abort"` any panic ends the process.)
pub async fn connect(urls: impl Into<String>) -> LockResult<Client> {
    Client::connect(&LocksConfig::new(urls)).await
}

/// A client of a lock service. Clones share connections and the renewal of leases.
///
/// It also implements [`LockService`], for single calls:
///
/// ```no_run
/// use db_locks::{AcquireLockOptionsBuilder, LockService};
///
/// # async fn example() -> Result<(), db_locks::LockError> {
/// let lock_service = db_locks::connect("http://127.0.0.1:8080").await?;
/// let lock = lock_service.acquire_lock(&AcquireLockOptionsBuilder::new("mylock", 1000).build()).await?;
/// lock_service.release_lock(&lock.to_release_options()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    service: Arc<dyn LockService>,
    renewal: Arc<Renewal>,
}

impl Client {
    /// Connects with these settings: to a service, or, if the URL is a database's, to an engine in this process.
    #[cfg_attr(
        not(feature = "embedded"),
        expect(clippy::unused_async, reason = "callers need not know whether an engine has to start")
    )]
    pub async fn connect(config: &LocksConfig) -> LockResult<Self> {
        #[cfg(feature = "embedded")]
        if config.names_a_database() {
            return Self::embedded(crate::EmbeddedLockService::open(config).await?);
        }
        Self::new(config)
    }

    /// A client of a service with these settings.
    pub fn new(config: &LocksConfig) -> LockResult<Self> {
        // Heartbeats and releases have connections of their own, so that waiting acquires do not delay them.
        let never = CancellationToken::new();
        let renewal = Renewal::start(Arc::new(HttpLockService::of_renewal(config)?), None, never)?;
        Ok(Self { service: Arc::new(HttpLockService::new(config)?), renewal: Arc::new(renewal) })
    }

    /// A client of an engine in this process.
    #[cfg(feature = "embedded")]
    pub(crate) fn embedded(service: crate::EmbeddedLockService) -> LockResult<Self> {
        let failed = service.failed();
        let service: Arc<dyn LockService> = Arc::new(service);
        let renewal = Renewal::start(Arc::clone(&service), Some(Arc::clone(&service)), failed)?;
        Ok(Self { service, renewal: Arc::new(renewal) })
    }

    /// Begins a request for a lock that is renewed in the background.
    pub fn lock(&self, key: impl Into<String>) -> LockRequest {
        LockRequest::new(Arc::clone(&self.service), Arc::clone(&self.renewal), key.into(), false)
    }

    /// Begins a request for a permit of a semaphore that is renewed in the background.
    pub fn permit(&self, semaphore_key: impl Into<String>) -> LockRequest {
        LockRequest::new(Arc::clone(&self.service), Arc::clone(&self.renewal), semaphore_key.into(), true)
    }
}

impl Deref for Client {
    type Target = dyn LockService;

    fn deref(&self) -> &Self::Target {
        &*self.service
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
