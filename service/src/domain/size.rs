//! The sizes of states and changes.

use super::{Body, Data, KeyChange, KeyState, Permit, Waiter};

impl KeyState {
    /// What a row takes in a statement beside its data, in bytes.
    pub const ROW_BYTES: usize = 256;

    /// The approximate size in bytes, with all data.
    pub fn bytes(&self) -> usize {
        let permits: usize = match &self.body {
            Body::Absent | Body::Mutex(_) => 0,
            Body::Semaphore(semaphore) => {
                let permits = &semaphore.permits.known;
                permits.iter().map(|permit| size_of::<Permit>() + bytes_of(permit.data.as_ref())).sum()
            }
        };
        let waiters = self.queue.head.iter().chain(self.queue.named.iter().map(|(waiter, _)| waiter));
        let waiters = waiters.map(|waiter| size_of::<Waiter>() + waiter.data.read_bytes());
        let ended = size_of_val(self.ended.as_slice());
        size_of::<Self>() + self.row_data_bytes() + permits + waiters.sum::<usize>() + ended
    }

    /// The approximate bytes of the key's own row. Each write of the key repeats its data and the reasons of forced
    /// releases.
    pub fn row_bytes(&self) -> usize {
        Self::ROW_BYTES + self.row_data_bytes()
    }

    /// The approximate bytes that a command for the key writes beside the key's own row: those of an average permit.
    pub fn command_bytes(&self) -> usize {
        let Body::Semaphore(semaphore) = &self.body else { return 0 };
        let known = &semaphore.permits.known;
        let data: usize = known.iter().map(|permit| bytes_of(permit.data.as_ref())).sum();
        Self::ROW_BYTES + data / known.len().max(1)
    }

    /// The bytes of the data and of the reasons of forced releases in the key's own row.
    pub(super) fn row_data_bytes(&self) -> usize {
        let data = match &self.body {
            Body::Mutex(mutex) => bytes_of(mutex.data.as_ref()),
            Body::Absent | Body::Semaphore(_) => 0,
        };
        data + self.revoked.bytes()
    }
}

impl KeyChange {
    /// The bytes of permits and waiters from which on a change takes no more commands. A change is written as a whole,
    /// and the changes of other keys wait for it.
    const MOST_CHILD_BYTES: usize = 128 << 10;

    /// The approximate number of bytes that the change writes.
    pub fn bytes(&self) -> usize {
        self.state.row_bytes() + self.child_bytes
    }

    /// Counts a permit or waiter with so much data that the change writes or removes.
    pub(super) const fn count_child(&mut self, data_bytes: usize) {
        self.child_bytes += KeyState::ROW_BYTES + data_bytes;
    }

    /// Counts permits that the change deletes, each with this much data.
    pub(super) const fn count_deleted(&mut self, permits: usize, data_bytes: usize) {
        self.child_bytes += permits * (KeyState::ROW_BYTES + data_bytes);
    }

    /// Whether the change writes so much that further commands of its key have to wait for the next one.
    pub fn is_full(&self) -> bool {
        self.child_bytes >= Self::MOST_CHILD_BYTES
    }
}

/// The bytes of data; 0 without data.
pub(super) fn bytes_of(data: Option<&Data>) -> usize {
    data.map_or(0, |data| data.as_str().len())
}
