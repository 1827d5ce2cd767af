//! `GET /tokens`

use axum::{extract, response::Response};
use db_locks_service::access::TokenId;

use super::body::TokenList;
use crate::{
    answer::json_page,
    http::State,
    problem::{Problem, problems},
    request::{CallerWithQuery, LimitParams, QueryParams, ReadQuery},
};

/// The page of tokens to list.
pub(crate) struct ListTokensQuery {
    limit: u32,
    cursor: Option<TokenId>,
}

impl ReadQuery for ListTokensQuery {
    fn read(params: &mut QueryParams<'_>) -> Self {
        Self { limit: params.limit(), cursor: params.cursor() }
    }
}

problems!(ListTokensProblems: Keys);

/// List tokens
///
/// For administrators. Lists tokens without their secrets, the oldest first. If the administrator's credential is
/// limited to a tenant or to key patterns, only tokens within these limits are listed.
#[utoipa::path(
    get,
    path = "/tokens",
    tag = "tokens",
    params(LimitParams),
    responses((status = 200, description = "One page of tokens.", body = TokenList<'_>), ListTokensProblems)
)]
pub(crate) async fn list_tokens(
    extract::State(app): extract::State<State>,
    CallerWithQuery { caller, query }: CallerWithQuery<ListTokensQuery>,
) -> Result<Response, Problem> {
    let page = app.tokens.list(query.cursor, query.limit, caller.identity()).await;
    let page = page.map_err(|error| Problem::from(db_locks_service::access::TokenError::from(error)))?;
    Ok(json_page(caller.tenant(&app.defaults).clone(), &TokenList::from(&page)))
}
