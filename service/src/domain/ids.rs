//! The identities of grants, writes and replicas.

use std::fmt;

use uuid::{Uuid, fmt::Hyphenated};

/// The identity of one grant, which heartbeat and release must present. Made by the service or chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub Uuid);

impl Version {
    /// The first 8 characters: enough to find the version in a log, and not enough to release a grant.
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
    /// The text: 8 hexadecimal digits.
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

/// The mark of one write of a key's row: random, 128 bits, never used twice.
///
/// Each write carries its own row version and the row version that it was decided on. The database applies it only to a
/// row with the latter. A counter would not do: after a delete and create, or a failover that lost commits, the same
/// number names another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowVersion(pub Uuid);

/// The fencing token, which grows with every grant of a key. Below 2^53, so that every JSON reader keeps it exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token(pub i64);

/// One incarnation of a replica: a process, from the time it registers because it has waiters until it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub Uuid);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}
