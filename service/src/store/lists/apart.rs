//! Reads a page of a list when it is the turn of its tenant, in a task of its own.
//!
//! A request over HTTP/2 runs in the task of its connection, which is polled in its turn and may have a thousand other requests. A
//! list that ran there would keep its turn and its connection to the database for as long as its caller likes.

use std::{panic::resume_unwind, sync::Arc};

use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::turns::Turn;
use crate::{
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
    /// gives up, so does the task.
    pub(in crate::store) async fn read_page<T: Send + 'static>(
        self: Arc<Self>,
        tenant: Option<Tenant>,
        operation: fn(&Self) -> &Operation,
        read: impl for<'r> FnOnce(&'r Self, &'r mut Turn) -> Work<'r, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let task = async move {
            let mut turn = self.turns.take(tenant).await?;
            let page = operation(&self).run(Purpose::Read, read(&self, &mut turn)).await?;
            Ok((page, turn.finish()))
        };
        let task = AbortOnDropHandle::new(tokio::spawn(task.in_current_span()));
        match task.await {
            Ok(finished) => finished.map(|(page, _taken)| page),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends.
                Err(_) => Err(overloaded()),
            },
        }
    }
}
