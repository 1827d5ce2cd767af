//! [`LockService`] in the caller's own process: the same engine as in the service, on the same database.

mod answers;
mod engine;
mod requests;
mod threads;

use async_trait::async_trait;
use db_locks_service::{
    AcquireRequest,
    domain::{KeyId, Kind, Owner, Tenant},
    store::{KeyFilter, LockFilter},
};
use tokio_util::sync::CancellationToken;

use self::engine::EmbeddedEngine;
use crate::{
    clock::LeaseInstant,
    config::LocksConfig,
    error::LockResult,
    models::{LockItem, Page, Semaphore},
    options::{AcquireLockOptions, DeleteLockOptions, ListOptions, ReleaseLockOptions, SendHeartbeatOptions},
    retry::Retry,
    service::LockService,
};

/// The default number of items on a page, as over HTTP.
const DEFAULT_LIMIT: u32 = 100;

/// The engine in this process, on a database. Several processes, services among them, may share one database.
///
/// The engine has its own threads, so a busy or blocked runtime of the caller does not delay it. After a panic in the engine all
/// calls return [`LockError::EngineFailed`](crate::LockError::EngineFailed).
#[derive(Debug)]
pub struct EmbeddedLockService {
    engine: EmbeddedEngine,
    tenant: Tenant,
    owner: Option<String>,
}

impl EmbeddedLockService {
    /// Connects to the database at the configured URL, and migrates its schema unless
    /// [`LocksConfig::with_migrations`] turned that off.
    pub async fn open(config: &LocksConfig) -> LockResult<Self> {
        let tenant = config.tenant.as_deref().unwrap_or("default");
        let tenant = Tenant::new(tenant).map_err(|error| requests::invalid("tenant", error))?;
        let engine = EmbeddedEngine::start(&config.urls, config.migrate).await?;
        Ok(Self { engine, tenant, owner: config.owner.clone() })
    }

    /// Cancelled when the engine has failed.
    pub(crate) fn failed(&self) -> CancellationToken {
        self.engine.failed()
    }

    fn id(&self, key: &str) -> LockResult<KeyId> {
        Ok(KeyId { tenant: self.tenant.clone(), key: requests::key(key)? })
    }
}

fn kind(uses_semaphore: bool) -> Kind {
    if uses_semaphore { Kind::Semaphore } else { Kind::Mutex }
}

/// The key prefix filter of a list.
fn keys(options: &ListOptions) -> KeyFilter {
    KeyFilter { prefix: options.prefix.clone(), patterns: None }
}

/// The owner filter of a list.
fn owner(options: &ListOptions) -> LockResult<Option<Owner>> {
    options.owner.as_deref().map(requests::owner).transpose()
}

#[async_trait]
impl LockService for EmbeddedLockService {
    async fn acquire_lock(&self, options: &AcquireLockOptions) -> LockResult<LockItem> {
        let id = self.id(&options.key)?;
        let request = requests::acquire(options, self.owner.as_deref(), self.engine.limits())?;
        let deadline = LeaseInstant::now().plus(requests::wait(&request));
        let mut retry = Retry::until(deadline);
        loop {
            let sent_at = LeaseInstant::now();
            let wait_ms = Some(requests::millis(deadline.remaining()));
            let (id, request) = (id.clone(), AcquireRequest { wait_ms, ..request.clone() });
            let error =
                match self.engine.call(|service| async move { service.acquire(id, request).await }).await {
                    Ok(delivery) => {
                        let item = answers::lock(delivery.view(), sent_at);
                        // The grant is delivered: no await lies between here and the return, so the future cannot be dropped in between.
                        delivery.delivered();
                        return Ok(item);
                    }
                    Err(error) if error.retryable() => error,
                    Err(error) => return Err(error),
                };
            if (options.fails_when_turned_away && retry.is_turned_away(&error)) || !retry.pause().await {
                return Err(error);
            }
        }
    }

    async fn send_heartbeat(&self, options: &SendHeartbeatOptions) -> LockResult<LockItem> {
        let (id, kind) = (self.id(&options.key)?, kind(options.uses_semaphore));
        let version = requests::version(options.version.as_deref())?;
        let lease_ms = requests::lease(options.lease_duration_ms, self.engine.limits())?;
        let data = requests::data_edit(options.data.as_deref(), options.delete_data)?;
        let sent_at = LeaseInstant::now();
        let call = self
            .engine
            .call(move |service| async move { service.heartbeat(id, kind, version, lease_ms, data).await });
        Ok(answers::lock(&call.await?, sent_at))
    }

    async fn release_lock(&self, options: &ReleaseLockOptions) -> LockResult<LockItem> {
        let (id, kind) = (self.id(&options.key)?, kind(options.uses_semaphore));
        let sent_at = LeaseInstant::now();
        let view = if options.force == Some(true) {
            let forced = requests::forced_release(options, kind)?;
            self.engine.call(|service| async move { service.force_release(id, forced).await }).await?
        } else {
            let release = requests::release(options, kind)?;
            self.engine.call(|service| async move { service.release(id, release).await }).await?
        };
        Ok(answers::lock(&view, sent_at))
    }

    async fn get_lock(&self, key: &str) -> LockResult<LockItem> {
        let id = self.id(key)?;
        let sent_at = LeaseInstant::now();
        let view = self.engine.call(|service| async move { service.get_lock(id).await }).await?;
        Ok(answers::lock(&view, sent_at))
    }

    async fn list_locks(&self, options: &ListOptions) -> LockResult<Page<LockItem>> {
        let tenant = self.tenant.clone();
        let filter = LockFilter { keys: keys(options), owner: owner(options)?, locked: options.locked };
        let after = options.cursor.as_deref().map(requests::key).transpose()?;
        let limit = options.limit.unwrap_or(DEFAULT_LIMIT);
        let page = self
            .engine
            .read(move |service| async move { service.list_locks(tenant, filter, after, limit).await })
            .await?;
        let now = LeaseInstant::now();
        Ok(Page {
            items: page.items.iter().map(|view| answers::lock(view, now)).collect(),
            next_cursor: page.next.map(|key| key.as_str().to_owned()),
        })
    }

    async fn delete_lock(&self, options: &DeleteLockOptions) -> LockResult<()> {
        let id = self.id(&options.key)?;
        let version =
            options.version.as_deref().map(|version| requests::version(Some(version))).transpose()?;
        self.engine.call(move |service| async move { service.delete_lock(id, version).await }).await
    }

    async fn create_semaphore(&self, semaphore: &Semaphore) -> LockResult<Semaphore> {
        let id = self.id(&semaphore.key)?;
        let max_size = requests::semaphore_size(semaphore.max_size)?;
        // A lease of zero leaves the semaphore's default lease unchanged.
        let lease_ms = i64::try_from(semaphore.lease_duration_ms).ok().filter(|lease_ms| *lease_ms > 0);
        let lease_ms = requests::lease(lease_ms, self.engine.limits())?;
        let guarded = semaphore.guarded.then_some(true);
        let call = self
            .engine
            .call(move |service| async move { service.put_semaphore(id, max_size, lease_ms, guarded).await });
        Ok(answers::semaphore(&call.await?.0))
    }

    async fn get_semaphore(&self, key: &str) -> LockResult<Semaphore> {
        let id = self.id(key)?;
        let view = self.engine.call(|service| async move { service.get_semaphore(id).await }).await?;
        Ok(answers::semaphore(&view))
    }

    async fn list_semaphores(&self, options: &ListOptions) -> LockResult<Page<Semaphore>> {
        let (tenant, filter) = (self.tenant.clone(), keys(options));
        let after = options.cursor.as_deref().map(requests::key).transpose()?;
        let limit = options.limit.unwrap_or(DEFAULT_LIMIT);
        let page = self
            .engine
            .read(move |service| async move { service.list_semaphores(tenant, filter, after, limit).await })
            .await?;
        Ok(Page {
            items: page.items.iter().map(answers::semaphore).collect(),
            next_cursor: page.next.map(|key| key.as_str().to_owned()),
        })
    }

    async fn list_permits(&self, key: &str, options: &ListOptions) -> LockResult<Page<LockItem>> {
        let id = self.id(key)?;
        let after = options.cursor.as_deref().map(requests::slot).transpose()?;
        let limit = options.limit.unwrap_or(DEFAULT_LIMIT);
        let page = self
            .engine
            .read(move |service| async move { service.list_permits(id, after, limit).await })
            .await?;
        let now = LeaseInstant::now();
        Ok(Page {
            items: page.items.iter().map(|view| answers::lock(view, now)).collect(),
            next_cursor: page.next.map(|slot| slot.to_string()),
        })
    }

    async fn delete_semaphore(&self, options: &DeleteLockOptions) -> LockResult<()> {
        let id = self.id(&options.key)?;
        self.engine.call(|service| async move { service.delete_semaphore(id).await }).await
    }
}
