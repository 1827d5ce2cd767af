//! `GET /locks`

use axum::{extract, response::Response};
use db_locks_service::{
    domain::Key,
    store::{KeyFilter, LockFilter},
};

use crate::{
    answer::{GrantList, json_page},
    http::State,
    problem::{Problem, problems},
    request::{
        LimitParams, LockFilterParams, PrefixParam, QueryParams, ReadQuery, TenantParam, TenantWithQuery,
    },
};

/// The locks to list, and the page.
pub(crate) struct ListLocksQuery {
    filter: LockFilter,
    limit: u32,
    cursor: Option<Key>,
}

impl ReadQuery for ListLocksQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        let (prefix, owner, locked) = (params.prefix(), params.owner(), params.flag("locked"));
        let filter = LockFilter { keys: KeyFilter { prefix, patterns: None }, owner, locked };
        Self { filter, limit: params.limit(), cursor: params.cursor() }
    }
}

problems!(ListLocksProblems: Keys);

/// List locks
///
/// Lists locks in byte order of their keys, without semaphores. A lock that changes while the list is read appears in
/// its old or its new state.
#[utoipa::path(
    get,
    path = "/locks",
    tag = "locks",
    params(PrefixParam, LockFilterParams, LimitParams, TenantParam),
    responses((status = 200, description = "One page of locks.", body = GrantList<'_>), ListLocksProblems)
)]
pub(crate) async fn list_locks(
    extract::State(app): extract::State<State>,
    TenantWithQuery { tenant, mut query, caller }: TenantWithQuery<ListLocksQuery>,
) -> Result<Response, Problem> {
    query.filter.keys.patterns = caller.keys();
    let page = app.service.list_locks(tenant.clone(), query.filter, query.cursor, query.limit).await?;
    Ok(json_page(tenant, &GrantList::seen_by(&caller, &page)))
}
