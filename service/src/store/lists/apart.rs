//! Reads a page of a list when it is the turn of its tenant, in a task of its own.

use std::sync::Arc;

use super::turns::Turn;
use crate::{
    apart::run_apart,
    domain::Tenant,
    store::{
        StoreError,
        classify::{Purpose, overloaded},
        operation::Operation,
        sql_store::SqlStore,
        writer::Work,
    },
};

impl SqlStore {
    /// Lets `read` read a page when it is the turn of the tenant; `None` is for administrators of all tenants. If the caller
    /// gives up, the list ends between two statements.
    pub(in crate::store) async fn read_page<T: Send + 'static>(
        self: Arc<Self>,
        tenant: Option<Tenant>,
        operation: fn(&Self) -> &Operation,
        read: impl for<'r> FnOnce(&'r Self, &'r mut Turn) -> Work<'r, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = run_apart(|caller| async move {
            let mut turn = self.turns.take(tenant, caller).await?;
            let page = operation(&self).run(Purpose::Read, read(&self, &mut turn)).await?;
            Ok((page, turn.finish()))
        });
        let (page, _taken) = read.await.map_err(|_| overloaded())??;
        Ok(page)
    }
}
