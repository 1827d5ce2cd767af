//! `GET /locks`

use axum::{extract, response::Response};
use db_locks_service::{
    domain::{Key, Owner},
    store::LockFilter,
};
use utoipa::IntoParams;

use crate::{
    answer::{GrantList, json},
    http::State,
    problem::{Problem, problems},
    request::{LimitParams, PrefixParam, QueryParams, ReadQuery, TenantParam, TenantWithQuery},
};

/// Which locks to list; `prefix`, `limit` and `cursor` are documented with the other lists'.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListLocksQuery {
    #[param(ignore)]
    prefix: Option<String>,
    /// Only locks with a standing grant of this owner.
    #[param(
        required = false,
        nullable = false,
        value_type = Option<String>,
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000]*$"
    )]
    owner: Option<Owner>,
    /// Only locks that are held, or only those that are not, expired ones included.
    #[param(required = false, nullable = false)]
    locked: Option<bool>,
    #[param(ignore)]
    limit: u32,
    #[param(ignore)]
    cursor: Option<Key>,
}

impl ReadQuery for ListLocksQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        Self {
            prefix: params.prefix(),
            owner: params.owner(),
            locked: params.flag("locked"),
            limit: params.limit(),
            cursor: params.cursor(),
        }
    }
}

problems! {
    /// What `list_locks` can answer instead of a page.
    ListLocksProblems: Keys
}

/// List locks
///
/// In byte order of their keys, locks only. A lock that changes while its list is read may be seen as it was or as it is.
#[utoipa::path(
    get,
    path = "/locks",
    tag = "locks",
    params(PrefixParam, ListLocksQuery, LimitParams, TenantParam),
    responses((status = 200, description = "One page of locks.", body = GrantList<'_>), ListLocksProblems)
)]
pub(crate) async fn list_locks(
    extract::State(app): extract::State<State>,
    TenantWithQuery { tenant, query }: TenantWithQuery<ListLocksQuery>,
) -> Result<Response, Problem> {
    let ListLocksQuery { prefix, owner, locked, limit, cursor } = query;
    let filter = LockFilter { prefix, owner, locked };
    let page = app.service.list_locks(tenant, filter, cursor, limit).await?;
    Ok(json(&GrantList::from(&page)))
}
