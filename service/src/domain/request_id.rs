//! The id of a request, and what it says of the request.

/// One request of a caller to its place in a queue or to its grant.
///
/// Clean-up after a connection that went away names the request id of that connection, so that a late clean-up of the first
/// does not remove the second, which attached with the same version.
///
/// The number is what the database stores. Its bits mean the same to every version of this program that writes to one
/// database at a time, so none of them ever gets another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub i64);

/// What an acquire asks for, as far as whoever serves the queue has to know it of those who wait. They are recorded by their
/// request ids, so it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestFlags {
    /// A grant that its owner has already is an answer, too.
    pub reentrant: bool,
    /// The grant is to be guarded.
    pub guarded: bool,
}

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

    /// The id of a request, from random bits.
    pub const fn new(random: u64, flags: RequestFlags) -> Self {
        let bits = (random >> 1).cast_signed() & !(Self::KEPT_BIT | Self::GUARDED_BIT);
        let bits = if flags.guarded { bits | Self::GUARDED_BIT } else { bits };
        Self(if flags.reentrant { !bits } else { bits })
    }

    /// What the request asks for.
    pub const fn flags(self) -> RequestFlags {
        RequestFlags { reentrant: self.is_complement(), guarded: self.bits() & Self::GUARDED_BIT != 0 }
    }

    /// Of a grant that this request had alone, and whose answer did not reach its caller.
    #[must_use]
    pub const fn kept(self) -> Self {
        if self.is_kept() { self } else { Self(self.0 ^ Self::KEPT_BIT) }
    }

    /// Whether no request has the grant: its answer has reached nobody, and it is kept for a repeat.
    pub const fn is_kept(self) -> bool {
        self.bits() & Self::KEPT_BIT != 0
    }

    /// The bits of the id: a reentrant request is stored as their complement, which is below zero.
    const fn bits(self) -> i64 {
        if self.is_complement() { !self.0 } else { self.0 }
    }

    const fn is_complement(self) -> bool {
        self.0 < 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first half of a UUID of version 4 with no other bit set, and with all others.
    const RANDOM: [u64; 2] = [0x4000, 0xffff_ffff_ffff_4fff];

    fn all_flags() -> impl Iterator<Item = RequestFlags> {
        [(false, false), (false, true), (true, false), (true, true)]
            .into_iter()
            .map(|(reentrant, guarded)| RequestFlags { reentrant, guarded })
    }

    #[test]
    fn a_request_id_tells_what_was_asked_for_kept_or_not() {
        for flags in all_flags() {
            for random in RANDOM {
                let id = RequestId::new(random, flags);
                assert_eq!((id.flags(), id.is_kept()), (flags, false), "{id:x?}");
                let kept = id.kept();
                assert_eq!((kept.flags(), kept.is_kept(), kept.kept()), (flags, true, kept), "{id:x?}");
                assert!(
                    kept != id && ![RequestId::NONE, RequestId::EXPIRY_RECORDED].contains(&id),
                    "{id:x?}"
                );
            }
        }
    }

    #[test]
    fn marks_of_grants_without_a_request_are_not_kept() {
        assert!(!RequestId::NONE.is_kept() && !RequestId::EXPIRY_RECORDED.is_kept());
    }

    /// Replicas of an earlier version read them, and rows of waiters outlive an upgrade.
    #[test]
    fn what_is_stored_stays_what_it_was() {
        let stored: Vec<_> = all_flags().map(|flags| RequestId::new(RANDOM[1], flags).0).collect();
        let bits = 0x7fff_ffff_ffff_a7ff;
        assert_eq!(stored, [bits, bits | 0x1000, !bits, !(bits | 0x1000)]);
        assert_eq!(RequestId(bits).kept().0, bits | 0x4000);
        assert_eq!((RequestId::NONE.0, RequestId::EXPIRY_RECORDED.0), (0, -1));
    }
}
