//! The trait of the single calls.

use async_trait::async_trait;

use crate::{
    error::LockResult,
    models::{LockItem, Page, Semaphore},
    options::{AcquireLockOptions, DeleteLockOptions, ListOptions, ReleaseLockOptions, SendHeartbeatOptions},
};

/// A lock service. These calls do not renew leases; [`Client::lock`](crate::Client::lock) does.
#[async_trait]
pub trait LockService: Send + Sync + 'static {
    /// Acquires a lock, or a permit with `uses_semaphore`. Waits in the queue as long as the options say, and repeats the request
    /// after a lost answer: the same version gets the same grant. Dropping the future leaves the queue.
    async fn acquire_lock(&self, options: &AcquireLockOptions) -> LockResult<LockItem>;

    /// Acquires a lock only if it is free now; `None` if it is held.
    async fn try_acquire_lock(&self, options: &AcquireLockOptions) -> LockResult<Option<LockItem>> {
        let options = AcquireLockOptions {
            override_time_to_wait_for_lock_ms: Some(0),
            additional_time_to_wait_for_lock_ms: None,
            ..options.clone()
        };
        match self.acquire_lock(&options).await {
            Ok(lock) => Ok(Some(lock)),
            Err(crate::LockError::NotGranted(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews a lease.
    async fn send_heartbeat(&self, options: &SendHeartbeatOptions) -> LockResult<LockItem>;

    /// Releases a grant. Returns the lock as it is after the release.
    async fn release_lock(&self, options: &ReleaseLockOptions) -> LockResult<LockItem>;

    /// Shows a lock, held or not.
    async fn get_lock(&self, key: &str) -> LockResult<LockItem>;

    /// Shows a page of locks.
    async fn list_locks(&self, options: &ListOptions) -> LockResult<Page<LockItem>>;

    /// Deletes a lock that is free, or held with the version in the options.
    async fn delete_lock(&self, options: &DeleteLockOptions) -> LockResult<()>;

    /// Creates a semaphore, or changes its size and the default lease of its permits.
    async fn create_semaphore(&self, semaphore: &Semaphore) -> LockResult<Semaphore>;

    /// Shows a semaphore.
    async fn get_semaphore(&self, key: &str) -> LockResult<Semaphore>;

    /// Shows a page of semaphores.
    async fn list_semaphores(&self, options: &ListOptions) -> LockResult<Page<Semaphore>>;

    /// Shows a page of the held permits of a semaphore.
    async fn list_permits(&self, key: &str, options: &ListOptions) -> LockResult<Page<LockItem>>;

    /// Shows all held permits of a semaphore.
    async fn get_semaphore_locks(&self, key: &str) -> LockResult<Vec<LockItem>> {
        let mut permits = Vec::new();
        let mut options = ListOptions::default();
        loop {
            let page = self.list_permits(key, &options).await?;
            permits.extend(page.items);
            match page.next_cursor {
                Some(cursor) => options.cursor = Some(cursor),
                None => return Ok(permits),
            }
        }
    }

    /// Deletes a semaphore without held permits.
    async fn delete_semaphore(&self, options: &DeleteLockOptions) -> LockResult<()>;
}
