//! The JSON of one page of a list.

use db_locks_service::{
    domain::{Key, LockView, SemaphoreView},
    store::Page,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{GrantBody, SemaphoreBody};
use crate::{auth::Caller, request::Cursor};

/// One page of locks, or of permits.
#[derive(Serialize, ToSchema)]
#[schema(as = GrantList)]
pub(crate) struct GrantList<'a> {
    /// The items of this page.
    items: Vec<GrantBody<'a>>,
    /// The `cursor` of the next page; null on the last page. Earlier pages may have fewer items than `limit`, or none.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<'a> GrantList<'a> {
    /// A page as this caller may see it.
    pub(crate) fn seen_by<C: Cursor>(caller: &Caller, page: &'a Page<LockView, C>) -> Self {
        Self {
            items: page.items.iter().map(|view| GrantBody::seen_by(caller, view)).collect(),
            next_cursor: page.next.as_ref().map(Cursor::write),
        }
    }
}

/// One page of semaphores.
#[derive(Serialize, ToSchema)]
#[schema(as = SemaphoreList)]
pub(crate) struct SemaphoreList<'a> {
    /// The items of this page.
    items: Vec<SemaphoreBody<'a>>,
    /// The `cursor` of the next page; null on the last page. Earlier pages may have fewer items than `limit`, or none.
    #[schema(required)]
    next_cursor: Option<String>,
}

impl<'a> From<&'a Page<SemaphoreView, Key>> for SemaphoreList<'a> {
    fn from(page: &'a Page<SemaphoreView, Key>) -> Self {
        Self {
            items: page.items.iter().map(SemaphoreBody::from).collect(),
            next_cursor: page.next.as_ref().map(Cursor::write),
        }
    }
}
