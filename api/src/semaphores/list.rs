//! `GET /semaphores`

use axum::{extract, response::Response};
use db_locks_service::domain::Key;

use crate::{
    answer::{SemaphoreList, json},
    http::State,
    problem::{Problem, problems},
    request::{LimitParams, PrefixParam, QueryParams, ReadQuery, TenantParam, TenantWithQuery},
};

/// Which semaphores to list.
pub(crate) struct ListSemaphoresQuery {
    prefix: Option<String>,
    limit: u32,
    cursor: Option<Key>,
}

impl ReadQuery for ListSemaphoresQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        Self { prefix: params.prefix(), limit: params.limit(), cursor: params.cursor() }
    }
}

problems!(ListSemaphoresProblems: Keys);

/// List semaphores
///
/// In byte order of their keys.
#[utoipa::path(
    get,
    path = "/semaphores",
    tag = "semaphores",
    params(PrefixParam, LimitParams, TenantParam),
    responses(
        (status = 200, description = "One page of semaphores.", body = SemaphoreList<'_>),
        ListSemaphoresProblems
    )
)]
pub(crate) async fn list_semaphores(
    extract::State(app): extract::State<State>,
    TenantWithQuery { tenant, query }: TenantWithQuery<ListSemaphoresQuery>,
) -> Result<Response, Problem> {
    let page = app.service.list_semaphores(tenant, query.prefix, query.cursor, query.limit).await?;
    Ok(json(&SemaphoreList::from(&page)))
}
