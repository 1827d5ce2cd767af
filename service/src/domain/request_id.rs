//! The id of a request, and the flags that it contains.

/// The id that ties a caller's request to its place in a queue or to its grant.
///
/// A clean-up after a closed connection names the request id of that connection. So a late clean-up of a first request
/// does not remove a second one that came with the same version.
///
/// The database stores the number. Its bits mean the same to every version of this program that writes to one database
/// at a time, so no bit ever gets another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub i64);

/// The options of an acquire that must be known when the queue is served, perhaps by another replica. Waiters are
/// stored with their request ids, so the options are part of the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestFlags {
    /// Whether an active grant of the same owner is an answer, too.
    pub reentrant: bool,
    /// Whether the grant is to be guarded.
    pub guarded: bool,
}

impl RequestId {
    /// The request id of grants of which it is not known who relies on them. Clean-up never ends such a grant.
    pub const NONE: Self = Self(0);

    /// The request id of expired grants whose end is already in the audit log.
    pub const EXPIRY_RECORDED: Self = Self(-1);

    /// The mark of a grant whose answer has reached nobody. Request ids of earlier versions of this program never have
    /// it: they were halves of version 4 UUIDs, in which this bit is always 0.
    const KEPT_BIT: i64 = 1 << 14;

    /// The mark of a request for a guarded grant. In earlier request ids this bit is always 0, too.
    const GUARDED_BIT: i64 = 1 << 12;

    /// The mark of a grant that was answered to several requests. In the ids of requests this bit is always 0.
    pub(super) const SEVERAL_BIT: i64 = 1 << 11;

    /// Makes a request id of random bits.
    pub const fn new(random: u64, flags: RequestFlags) -> Self {
        let bits = (random >> 1).cast_signed() & !(Self::KEPT_BIT | Self::GUARDED_BIT | Self::SEVERAL_BIT);
        let bits = if flags.guarded { bits | Self::GUARDED_BIT } else { bits };
        Self(if flags.reentrant { !bits } else { bits })
    }

    /// The options of the request.
    pub const fn flags(self) -> RequestFlags {
        RequestFlags { reentrant: self.is_complement(), guarded: self.bits() & Self::GUARDED_BIT != 0 }
    }

    /// The id of a grant that only this request had and whose answer did not reach its caller.
    #[must_use]
    pub const fn kept(self) -> Self {
        if self.is_kept() { self } else { Self(self.0 ^ Self::KEPT_BIT) }
    }

    /// Whether the grant is kept for a repeat, because its answer has reached nobody.
    pub const fn is_kept(self) -> bool {
        self.bits() & Self::KEPT_BIT != 0
    }

    /// The bits of the id. A reentrant request is stored as their complement, which is negative.
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

    /// The first halves of version 4 UUIDs: one with no other bit set, one with all others set.
    const RANDOM: [u64; 2] = [0x4000, 0xffff_ffff_ffff_4fff];

    fn all_flags() -> impl Iterator<Item = RequestFlags> {
        [(false, false), (false, true), (true, false), (true, true)]
            .into_iter()
            .map(|(reentrant, guarded)| RequestFlags { reentrant, guarded })
    }

    #[test]
    fn a_request_id_has_the_options_of_the_request_kept_or_not() {
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

    /// Replicas of an earlier version read these bits, and rows of waiters outlive an upgrade.
    #[test]
    fn the_stored_bits_never_change() {
        let stored: Vec<_> = all_flags().map(|flags| RequestId::new(RANDOM[1], flags).0).collect();
        let bits = 0x7fff_ffff_ffff_a7ff;
        assert_eq!(stored, [bits, bits | 0x1000, !bits, !(bits | 0x1000)]);
        assert_eq!(RequestId(bits).kept().0, bits | 0x4000);
        assert_eq!((RequestId::NONE.0, RequestId::EXPIRY_RECORDED.0), (0, -1));
    }
}
