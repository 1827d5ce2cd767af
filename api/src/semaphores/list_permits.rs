//! `GET /semaphores/{key}/permits`

use axum::{extract, response::Response};

use crate::{
    answer::{GrantList, json_page},
    http::State,
    problem::{Problem, problems},
    request::{KeyWithQuery, LimitParams, QueryParams, ReadQuery, SemaphoreKeyParam, TenantParam},
};

/// The page of permits to list.
pub(crate) struct ListPermitsQuery {
    limit: u32,
    cursor: Option<i32>,
}

impl ReadQuery for ListPermitsQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        Self { limit: params.limit(), cursor: params.cursor() }
    }
}

problems!(ListPermitsProblems: Keys, NotFound, WrongKind);

/// List the permits that are held
///
/// Lists the grants whose leases have not ended.
#[utoipa::path(
    get,
    path = "/semaphores/{key}/permits",
    tag = "semaphores",
    params(SemaphoreKeyParam, LimitParams, TenantParam),
    responses((status = 200, description = "One page of permits.", body = GrantList<'_>), ListPermitsProblems)
)]
pub(crate) async fn list_permits(
    extract::State(app): extract::State<State>,
    KeyWithQuery { id, query, caller }: KeyWithQuery<ListPermitsQuery>,
) -> Result<Response, Problem> {
    let tenant = id.tenant.clone();
    let page = app.service.list_permits(id, query.cursor, query.limit).await?;
    Ok(json_page(tenant, &GrantList::seen_by(&caller, &page)))
}
