//! Counts the memory of the heads that h2 remembers for a client.
//!
//! HPACK lets a client name headers, and paths, that later requests refer to. h2 keeps the whole piece of the connection that such a name
//! came with, and up to a hundred of them: 4 MiB without any request under way. Clients with a valid credential are trusted not to do
//! that on very many connections. From all others the bytes that they have sent count, since each could be kept. They
//! count as they are read, and not only with a request: h2 also remembers what comes with a head that it refuses itself.

use std::sync::Arc;

use super::connection_memory::{ConnectionMemory, Counted};
use crate::http::connection::Connection;

/// The most that h2 remembers for a client, in bytes.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// The bytes are counted in steps of this size. An ordinary client sends less before it has shown a credential.
const STEP: usize = 16 * 1024;

/// The counted memory of a connection.
#[derive(Debug)]
pub(super) struct RememberedHeads {
    memory: Arc<ConnectionMemory>,
    /// The number of bytes that the client has sent.
    sent: usize,
    counted: Vec<Counted>,
}

impl RememberedHeads {
    /// The memory of a new connection.
    pub(super) const fn new(memory: Arc<ConnectionMemory>) -> Self {
        Self { memory, sent: 0, counted: Vec::new() }
    }

    /// Counts so many bytes more that the client has sent, or nothing if it is known.
    pub(super) fn count(&mut self, bytes: usize, client: &Arc<Connection>) {
        self.sent = self.sent.saturating_add(bytes);
        if client.is_known() {
            return self.counted.clear();
        }
        let steps = self.sent.min(MOST_BYTES) / STEP;
        while self.counted.len() < steps {
            self.counted.extend(self.memory.count(client, STEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards memory against clients without a credential.
    #[test]
    fn the_bytes_of_a_client_count_until_it_is_known() {
        let (memory, client) = (Arc::new(ConnectionMemory::default()), Connection::for_test(true));
        let mut heads = RememberedHeads::new(Arc::clone(&memory));
        let mut counted = |bytes: usize| {
            heads.count(bytes, &client);
            memory.bytes()
        };
        assert_eq!(counted(STEP - 1), 0, "an ordinary client sends less");
        assert_eq!(counted(2 * STEP), 2 * STEP);
        assert_eq!(counted(10 * MOST_BYTES), MOST_BYTES);
        client.set_known();
        assert_eq!(counted(STEP), 0);
    }
}
