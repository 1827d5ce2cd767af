//! Lists for test stores whose lists nobody reads.

use std::sync::Arc;

use async_trait::async_trait;

use super::{HeldCounts, KeyFilter, ListStore, LockFilter, Page, StoreError};
use crate::domain::{Key, KeyId, LockView, SemaphoreView, Tenant};

/// A store with empty lists.
pub(crate) trait WithoutLists: Send + Sync + 'static {}

const fn empty<T, N>() -> Page<T, N> {
    Page { items: Vec::new(), next: None }
}

#[async_trait]
impl<S: WithoutLists> ListStore for S {
    async fn list_locks(
        self: Arc<Self>,
        _: Tenant,
        _: LockFilter,
        _: Option<Key>,
        _: u32,
    ) -> Result<Page<LockView, Key>, StoreError> {
        Ok(empty())
    }

    async fn list_semaphores(
        self: Arc<Self>,
        _: Tenant,
        _: KeyFilter,
        _: Option<Key>,
        _: u32,
    ) -> Result<Page<SemaphoreView, Key>, StoreError> {
        Ok(empty())
    }

    async fn list_permits(
        self: Arc<Self>,
        _: KeyId,
        _: Option<i32>,
        _: u32,
    ) -> Result<Page<LockView, i32>, StoreError> {
        Ok(empty())
    }

    async fn stored_bytes(&self, _: &Tenant) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn count_held(&self) -> Result<HeldCounts, StoreError> {
        Ok(HeldCounts::default())
    }
}
