//! What a tenant that stores as much as it may can still do: all that makes nothing larger, and what holders need.

use super::{Context, KeyChange, Verdict, held::Target, refuse};
use crate::domain::{Acquire, Body, Data, DataEdit, KeyState, Refusal, Semaphore};

/// What a row counts beside its data, in bytes: about what one of a short key takes with its place in the index.
pub const ROW_BYTES: u64 = 512;

/// Data of at most so many bytes is stored in a row that is there all the same: a holder that notes its progress keeps its lock.
const SMALL_DATA: usize = 1_024;

impl KeyState {
    /// The bytes that the key's rows take, by the count of the limit; of permits whose data is not known, without it.
    fn stored_bytes(&self) -> u64 {
        match &self.body {
            Body::Absent => ROW_BYTES,
            Body::Mutex(mutex) => ROW_BYTES + bytes_of(mutex.data.as_ref()),
            Body::Semaphore(Semaphore { permits, .. }) => {
                let data = permits.known.iter().map(|permit| bytes_of(permit.data.as_ref()));
                ROW_BYTES * (1 + u64::try_from(permits.slots).unwrap_or_default()) + data.sum::<u64>()
            }
        }
    }

    /// The same before a change: without a row there is nothing.
    pub(super) fn stored_before(&self) -> u64 {
        if self.row_version.is_some() { self.stored_bytes() } else { 0 }
    }
}

impl KeyChange {
    /// By how many bytes the tenant's rows grow, by the count of the limit.
    pub fn growth(&self) -> u64 {
        self.state.stored_bytes().saturating_sub(self.stored_before)
    }

    /// The refusal of what would create a key.
    pub(super) fn refuse_creation(&self, ctx: &Context) -> Option<Verdict> {
        ctx.is_over_storage(&self.id.tenant).then(|| refuse(Refusal::StorageFull))
    }

    /// The refusal of data that is larger than what is there.
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

    /// The refusal of a change of a grant's data that makes it larger.
    pub(super) fn refuse_edit(&mut self, target: &Target, edit: &DataEdit, ctx: &Context) -> Option<Verdict> {
        let DataEdit::Set(after) = edit else { return None };
        let before = self.grant_and_data(target).1.clone();
        self.refuse_data(before.as_ref(), Some(after), ctx)
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
    data.map_or(0, |data| u64::try_from(data.as_str().len()).unwrap_or(u64::MAX))
}
