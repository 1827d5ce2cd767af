//! Locks (mutexes): one file for each operation.

mod delete;
mod get;
mod list;
pub(crate) mod put;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    grants::{acquire, heartbeat, release},
    http::State,
};

/// The routes of locks, in the order in which a user would try them.
pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(acquire::acquire_lock))
        .routes(routes!(heartbeat::heartbeat_lock))
        .routes(routes!(release::release_lock))
        .routes(routes!(get::get_lock, put::put_lock, delete::delete_lock))
        .routes(routes!(list::list_locks))
}
