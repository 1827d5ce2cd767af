//! Semaphores and their permits: one file for each operation.

mod delete;
mod get;
mod list;
mod list_permits;
pub(crate) mod put;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    grants::{acquire, heartbeat, release},
    http::State,
};

/// The routes of semaphores, in the order in which a user would try them.
pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(put::put_semaphore, get::get_semaphore, delete::delete_semaphore))
        .routes(routes!(acquire::acquire_permit))
        .routes(routes!(list_permits::list_permits))
        .routes(routes!(heartbeat::heartbeat_permit))
        .routes(routes!(release::release_permit))
        .routes(routes!(list::list_semaphores))
}
