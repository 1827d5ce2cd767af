//! Locks (mutexes): one file an operation.

mod acquire;
mod delete;
mod get;
mod heartbeat;
mod list;
mod put;
mod release;

pub(crate) use self::heartbeat::HeartbeatBody;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::State;

/// The routes of locks, in the order in which one would try them.
pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(acquire::acquire_lock))
        .routes(routes!(heartbeat::heartbeat_lock))
        .routes(routes!(release::release_lock))
        .routes(routes!(get::get_lock, put::put_lock, delete::delete_lock))
        .routes(routes!(list::list_locks))
}
