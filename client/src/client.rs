//! The client: a service, and the renewal of the locks that are held there.

use std::{ops::Deref, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    config::LocksConfig, error::LockResult, http::HttpLockService, renewal::Renewal, request::LockRequest,
    service::LockService,
};

/// Connects to the service at this URL; several are separated by commas. Nothing is sent before something is asked.
///
/// With the feature `embedded` it may be a database's URL instead: then this process runs the engine itself, on that
/// database, whose schema is brought up to date first unless [`LocksConfig::with_migrations`] says otherwise.
///
/// Should that engine fail by an error in its program, this process goes on and the client is over: all its locks are
/// [lost](crate::LockHandle::lost), and all calls are answered [`LockError::EngineFailed`](crate::LockError::EngineFailed).
/// Connect again. (Not with `panic = "abort"`, which ends the process at any panic.)
pub async fn connect(urls: impl Into<String>) -> LockResult<Client> {
    Client::connect(&LocksConfig::new(urls)).await
}

/// A client of a lock service. Clones share its connections and its renewal.
///
/// It is a [`LockService`] too, for calls one by one:
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
    /// A client with these settings: of a service, or of an engine of its own if the URL is a database's.
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
        // Heartbeats and releases have connections of their own: acquires that wait are not in their way.
        let never = CancellationToken::new();
        let renewal = Renewal::start(Arc::new(HttpLockService::new(config)?), None, never)?;
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

    /// Asks for a lock that renews itself.
    pub fn lock(&self, key: impl Into<String>) -> LockRequest {
        LockRequest::new(Arc::clone(&self.service), Arc::clone(&self.renewal), key.into(), false)
    }

    /// Asks for a permit of a semaphore that renews itself.
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
