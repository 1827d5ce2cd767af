//! Counts the memory of the heads that h2 remembers for a client.
//!
//! HPACK lets a client name headers, and paths, that later requests refer to. h2 keeps the whole piece of the connection that such a name
//! came with, and up to a hundred of them: 4 MiB without any request under way. So the bytes that a client has sent count,
//! since each could be kept, and beside it what it becomes when Huffman codes are decoded. They count as they are read,
//! and not only with a request: h2 also remembers what comes with a head that it refuses itself. Clients with a valid
//! credential send bytes for days. From them only a hundred heads as long as their longest one count, and none if that
//! is of ordinary length.

use std::sync::Arc;

use super::connection_memory::{ConnectionMemory, Counted};
use crate::http::connection::Connection;

/// The most that a client sends of what h2 remembers, in bytes.
const MOST_SENT: usize = 4 * 1024 * 1024;
/// The memory for each byte sent: h2 makes 1.6 bytes of room to decode one of Huffman codes.
const PER_BYTE: usize = 2;
/// The most heads of which h2 remembers something for a client.
const MOST_HEADS: usize = 100;
/// Heads up to this length are ordinary: they have room for a credential of some kilobytes.
const ORDINARY_HEAD: usize = 4 * 1024;
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

    /// Counts so many bytes more that the client has sent. Its longest head so far has `longest_head` bytes.
    pub(super) fn count(&mut self, bytes: usize, longest_head: usize, client: &Arc<Connection>) {
        self.sent = self.sent.saturating_add(bytes);
        let most = match client.is_known() {
            false => MOST_SENT,
            true if longest_head > ORDINARY_HEAD => MOST_SENT.min(MOST_HEADS * longest_head),
            true => 0,
        };
        let steps = self.sent.min(most) / STEP;
        self.counted.truncate(steps);
        while self.counted.len() < steps {
            self.counted.extend(self.memory.count(client, PER_BYTE * STEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards memory against clients without a credential, and against those who show one and then send long heads.
    #[test]
    fn the_bytes_of_a_client_count_until_it_is_known_to_send_ordinary_heads() {
        let (memory, client) = (Arc::new(ConnectionMemory::default()), Connection::for_test(true));
        let mut heads = RememberedHeads::new(Arc::clone(&memory));
        let mut counted = |bytes: usize, longest_head| {
            heads.count(bytes, longest_head, &client);
            memory.bytes()
        };
        assert_eq!(counted(STEP - 1, 100), 0, "an ordinary client sends less");
        assert_eq!(counted(2 * STEP, 100), PER_BYTE * 2 * STEP);
        assert_eq!(counted(10 * MOST_SENT, 100), PER_BYTE * MOST_SENT);
        client.set_known();
        assert_eq!(counted(STEP, ORDINARY_HEAD), 0);
        assert_eq!(counted(STEP, STEP), PER_BYTE * MOST_HEADS * STEP);
        assert_eq!(counted(STEP, 100 * STEP), PER_BYTE * MOST_SENT);
    }
}
