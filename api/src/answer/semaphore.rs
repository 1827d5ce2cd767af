//! The JSON of a semaphore.

use db_locks_service::{Rfc3339, domain::SemaphoreView};
use serde::Serialize;
use utoipa::ToSchema;

/// A semaphore, with the number of its permits and of those that are held.
#[derive(Serialize, ToSchema)]
#[schema(as = Semaphore)]
pub(crate) struct SemaphoreBody<'a> {
    /// The key of the semaphore.
    #[schema(example = "workers")]
    key: &'a str,
    /// The tenant of the key.
    #[schema(example = "default")]
    tenant: &'a str,
    /// The number of permits that can be held at the same time.
    #[schema(minimum = 1, maximum = 1_000_000, example = 3)]
    max_size: i32,
    /// Whether the permits are guarded.
    #[schema(example = false)]
    guarded: bool,
    /// The number of permits that are held: those whose lease has not ended.
    #[schema(minimum = 0, example = 1)]
    busy_count: i64,
    /// The number of requests that wait for a permit.
    #[schema(minimum = 0, example = 0)]
    waiters: i64,
    /// The lease of permits that are acquired without a lease of their own, in milliseconds.
    #[schema(minimum = 1, example = 15_000)]
    lease_duration_ms: i64,
    /// The time of creation.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    created_at: Rfc3339,
    /// The time of the last change.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    updated_at: Rfc3339,
}

impl<'a> From<&'a SemaphoreView> for SemaphoreBody<'a> {
    fn from(view: &'a SemaphoreView) -> Self {
        Self {
            key: view.id.key.as_str(),
            tenant: view.id.tenant.as_str(),
            max_size: view.max_size,
            guarded: view.guarded,
            busy_count: view.busy_count,
            waiters: view.waiters,
            lease_duration_ms: view.lease_ms,
            created_at: view.created_at.into(),
            updated_at: view.updated_at.into(),
        }
    }
}
