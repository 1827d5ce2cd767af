//! The size of a state.

use super::{Body, Data, KeyState, Permit, Waiter};

impl KeyState {
    /// The approximate size in bytes, with all data.
    pub fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Absent => 0,
            Body::Mutex(mutex) => bytes_of(mutex.data.as_ref()),
            Body::Semaphore(semaphore) => {
                let permits = &semaphore.permits.known;
                permits.iter().map(|permit| size_of::<Permit>() + bytes_of(permit.data.as_ref())).sum()
            }
        };
        let waiters = self.queue.head.iter().chain(self.queue.named.iter().map(|(waiter, _)| waiter));
        let waiters = waiters.map(|waiter| size_of::<Waiter>() + bytes_of(waiter.holder.data.as_ref()));
        let ended = size_of_val(self.ended.as_slice()) + self.revoked.bytes();
        size_of::<Self>() + body + waiters.sum::<usize>() + ended
    }
}

/// The bytes of data; 0 without data.
pub(super) fn bytes_of(data: Option<&Data>) -> usize {
    data.map_or(0, |data| data.as_str().len())
}
