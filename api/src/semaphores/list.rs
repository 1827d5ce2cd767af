//! `GET /semaphores`

use axum::{extract, response::Response};
use db_locks_service::{domain::Key, store::KeyFilter};

use crate::{
    answer::{SemaphoreList, json_page},
    http::State,
    problem::{Problem, problems},
    request::{LimitParams, PrefixParam, QueryParams, ReadQuery, TenantParam, TenantWithQuery},
};

/// The semaphores to list, and the page.
pub(crate) struct ListSemaphoresQuery {
    filter: KeyFilter,
    limit: u32,
    cursor: Option<Key>,
}

impl ReadQuery for ListSemaphoresQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        let filter = KeyFilter { prefix: params.prefix(), patterns: None };
        Self { filter, limit: params.limit(), cursor: params.cursor() }
    }
}

problems!(ListSemaphoresProblems: Keys);

/// List semaphores
///
/// Lists semaphores in byte order of their keys.
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
    TenantWithQuery { tenant, mut query, caller }: TenantWithQuery<ListSemaphoresQuery>,
) -> Result<Response, Problem> {
    query.filter.patterns = caller.keys();
    let page = app.service.list_semaphores(tenant.clone(), query.filter, query.cursor, query.limit).await?;
    Ok(json_page(tenant, &SemaphoreList::from(&page)))
}
