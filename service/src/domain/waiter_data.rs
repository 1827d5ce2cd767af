//! The data that a waiter wants to store with its grant.

use super::{Data, size::bytes_of};

/// The data of a waiter, as far as a view shows it. Nobody needs the data before the waiter is served, and there can be
/// very many waiters. So views leave out large data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaiterData {
    /// The data; `None` if the waiter has none.
    Read(Option<Data>),
    /// The view does not show the data, which has this number of bytes.
    Unread(usize),
}

impl WaiterData {
    /// The number of bytes, whether or not the view shows them.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Read(data) => bytes_of(data.as_ref()),
            Self::Unread(bytes) => *bytes,
        }
    }

    /// The number of bytes that the view shows.
    pub fn read_bytes(&self) -> usize {
        match self {
            Self::Read(data) => bytes_of(data.as_ref()),
            Self::Unread(_) => 0,
        }
    }

    /// Keeps the data that is stored, which this shows only in part.
    #[cfg(test)]
    pub(crate) fn or_stored(self, stored: Option<&Self>) -> Self {
        match (self, stored) {
            (Self::Unread(bytes), Some(stored)) if stored.bytes() == bytes => stored.clone(),
            (Self::Unread(_), stored) => panic!("data that was not read is stored: {stored:?}"),
            (read, _) => read,
        }
    }

    /// Drops the data from the view.
    pub fn forget(&mut self) {
        let bytes = self.bytes();
        if bytes > 0 {
            *self = Self::Unread(bytes);
        }
    }
}
