//! The answer with a semaphore.

use db_locks_service::{Rfc3339, domain::SemaphoreView};
use serde::Serialize;
use utoipa::ToSchema;

/// A semaphore: how many permits it has, and how many are out.
#[derive(Serialize, ToSchema)]
#[schema(as = Semaphore)]
pub(crate) struct SemaphoreBody<'a> {
    /// The key.
    #[schema(example = "workers")]
    key: &'a str,
    /// Whose key it is.
    #[schema(example = "default")]
    tenant: &'a str,
    /// How many permits may be out.
    #[schema(minimum = 1, maximum = 1_000_000, example = 3)]
    max_size: i32,
    /// Whether its permits are guarded.
    #[schema(example = false)]
    guarded: bool,
    /// How many permits are out: those whose lease has not ended.
    #[schema(minimum = 0, example = 1)]
    busy_count: i64,
    /// How many wait for a permit.
    #[schema(minimum = 0, example = 0)]
    waiters: i64,
    /// The lease of a permit that names none, in milliseconds.
    #[schema(minimum = 1, example = 15_000)]
    lease_duration_ms: i64,
    /// When it was created.
    #[schema(value_type = String, format = DateTime, example = "2026-11-23T05:06:53.381Z")]
    created_at: Rfc3339,
    /// When it last changed.
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
