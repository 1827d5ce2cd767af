//! The rules for a tenant that has reached its storage limit: commands that store nothing more are allowed, and those
//! that holders need.

use super::{Context, KeyChange, Verdict, refuse, target::Target};
use crate::domain::{Acquire, Body, Data, DataEdit, KeyState, Refusal, Semaphore, size};

/// The bytes that a row counts beside its data: about what a row with a short key takes together with its index entry.
pub const ROW_BYTES: u64 = 512;

/// Data of at most this many bytes may be stored in an existing row even beyond the limit, so that a holder that
/// records its progress keeps its lock.
const SMALL_DATA: usize = 1_024;

impl KeyState {
    /// The bytes of the key's rows, as counted for the limit. Data of unknown permits is not included.
    fn stored_bytes(&self) -> u64 {
        let row = ROW_BYTES + u64::try_from(self.row_data_bytes()).unwrap_or(u64::MAX);
        row + match &self.body {
            Body::Absent | Body::Mutex(_) => 0,
            Body::Semaphore(Semaphore { permits, .. }) => {
                let data = permits.known.iter().map(|permit| bytes_of(permit.data.as_ref()));
                ROW_BYTES * u64::try_from(permits.slots).unwrap_or_default() + data.sum::<u64>()
            }
        }
    }

    /// The bytes of the key's rows before a change: 0 without a row.
    pub(super) fn stored_before(&self) -> u64 {
        if self.row_version.is_some() { self.stored_bytes() } else { 0 }
    }
}

impl KeyChange {
    /// The bytes by which the tenant's rows grow, as counted for the limit. Rows of waiters come and go; only their data counts.
    pub fn growth(&self) -> u64 {
        self.state.stored_bytes().saturating_sub(self.stored_before) + self.queued_bytes
    }

    /// Counts the data of a request that is about to wait. The refusal if the tenant may not store it: unlike the data of a
    /// grant, it takes the place of no other data.
    pub(super) fn queue_data(&mut self, data: Option<&Data>, ctx: &Context) -> Option<Verdict> {
        let refused = self.refuse_data(None, data, ctx);
        if refused.is_none() {
            self.queued_bytes += bytes_of(data);
        }
        refused
    }

    /// The refusal of a command that would create a key.
    pub(super) fn refuse_creation(&self, ctx: &Context) -> Option<Verdict> {
        ctx.is_over_storage(&self.id.tenant).then(|| refuse(Refusal::StorageFull))
    }

    /// The refusal of data that is larger than the stored data.
    pub(super) fn refuse_data(
        &self,
        before: Option<&Data>,
        after: Option<&Data>,
        ctx: &Context,
    ) -> Option<Verdict> {
        let size = after.map_or(0, |data| data.as_str().len());
        let grows = size > SMALL_DATA && size > before.map_or(0, |data| data.as_str().len());
        (grows && ctx.is_over_storage(&self.id.tenant)).then(|| refuse(Refusal::StorageFull))
    }

    /// The refusal of an edit that makes a grant's data larger.
    pub(super) fn refuse_edit(&self, target: &Target, edit: &DataEdit, ctx: &Context) -> Option<Verdict> {
        let DataEdit::Set(after) = edit else { return None };
        self.refuse_data(target.data(), Some(after), ctx)
    }

    /// The refusal of an acquire that would create a lock, or a permit's row, or store larger data.
    pub(super) fn refuse_growth(&self, acquire: &Acquire, ctx: &Context) -> Option<Verdict> {
        if !ctx.is_over_storage(&self.id.tenant) {
            return None;
        }
        match &self.state.body {
            Body::Absent => self.refuse_creation(ctx),
            Body::Mutex(mutex) => self.refuse_data(mutex.data.as_ref(), acquire.data.as_ref(), ctx),
            Body::Semaphore(semaphore) => {
                let permits = &semaphore.permits;
                if permits.slots < semaphore.max_size && permits.longest_free(ctx.now).is_none() {
                    return self.refuse_creation(ctx);
                }
                self.refuse_data(None, acquire.data.as_ref(), ctx)
            }
        }
    }
}

fn bytes_of(data: Option<&Data>) -> u64 {
    u64::try_from(size::bytes_of(data)).unwrap_or(u64::MAX)
}
