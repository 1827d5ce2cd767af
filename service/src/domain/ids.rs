//! Identities: of grants, writes, requests, replicas.

use std::fmt;

use uuid::{Uuid, fmt::Hyphenated};

/// The identity of one grant: what heartbeat and release must present. Made by the service or chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub Uuid);

impl Version {
    /// The first 8 characters: enough to find it, and nothing that anybody can release a grant with.
    pub fn short(self) -> ShortVersion {
        let mut text = [0; Hyphenated::LENGTH];
        self.0.as_hyphenated().encode_lower(&mut text);
        let mut short = [0; 8];
        short.copy_from_slice(&text[..8]);
        ShortVersion(short)
    }
}

/// The beginning of a [`Version`], as logs show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortVersion([u8; 8]);

impl ShortVersion {
    /// Its text: 8 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ShortVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Marks one write of a key's row: random, 128 bits, never used twice.
///
/// Each write carries its own row version and the row version of the row it was decided on; the database applies it only to that
/// row. A counter would not do: after a delete and create, or a failover that lost commits, the same number names
/// another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowVersion(pub Uuid);

/// The fencing token: grows with every grant of a key, for ever. Below 2^53, so that every JSON reader keeps it exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token(pub i64);

/// One request of a caller to its place in a queue or to its grant.
///
/// Clean-up after a connection that went away names the request id of that connection, so that a late clean-up of the first
/// does not remove the second, which attached with the same version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub i64);

impl RequestId {
    /// That of no request: no clean-up ends a grant that bears it.
    pub const NONE: Self = Self(0);

    /// That of a grant whose lease has ended, once that is in the audit trail.
    pub const EXPIRY_RECORDED: Self = Self(-1);

    /// Marks a grant whose answer has reached nobody. No request of an earlier version of this program bears it: their bits
    /// were those of UUIDs of version 4, of which this one is always 0.
    const KEPT_BIT: i64 = 1 << 14;

    /// Marks a request for a guarded grant. Of the earlier ones it was always 0, too.
    const GUARDED_BIT: i64 = 1 << 12;

    /// A request from random bits. Its sign tells whether its caller is content with a grant that its owner has already, and
    /// a bit whether it asks for a guarded grant: whoever serves the queue has to know that of those who wait, and they are
    /// recorded by their request ids.
    pub const fn new(random: u64, reentrant: bool, guarded: bool) -> Self {
        let number = (random >> 1).cast_signed() & !(Self::KEPT_BIT | Self::GUARDED_BIT);
        let number = if guarded { number | Self::GUARDED_BIT } else { number };
        Self(if reentrant { !number } else { number })
    }

    /// Whether a waiter with this request id is granted a guarded lock.
    pub const fn is_guarded(self) -> bool {
        let number = if self.0 < 0 { !self.0 } else { self.0 };
        number & Self::GUARDED_BIT != 0
    }

    /// Of a grant that this request had alone, and whose answer did not reach its caller.
    #[must_use]
    pub const fn kept(self) -> Self {
        if self.is_kept() { self } else { Self(self.0 ^ Self::KEPT_BIT) }
    }

    /// Whether no request has the grant: its answer has reached nobody, and it is kept for a repeat.
    pub const fn is_kept(self) -> bool {
        let number = if self.0 < 0 { !self.0 } else { self.0 };
        number & Self::KEPT_BIT != 0
    }

    /// Whether a waiter with this request id is answered with the grant of another of its owner.
    pub const fn is_reentrant(self) -> bool {
        self.0 < 0
    }
}

/// One incarnation of a replica: a process, from the moment it first waits for something until it no longer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub Uuid);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}
