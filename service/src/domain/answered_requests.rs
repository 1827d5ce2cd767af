//! The request id of a grant that was answered to several requests.
//!
//! The id then contains the number of these requests and a sum that depends on each of their ids. A request that gives
//! its answer back is subtracted. The grant has reached nobody only if both are 0 again. A request whose answer was
//! delivered is never subtracted, so it keeps the grant. The number alone would not do: the same answer can be given
//! back twice, if the database's answer to the first time was lost.

use super::RequestId;

/// What becomes of a grant when a request gives its answer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenBack {
    /// Nothing: the request is not known to have been answered with the grant.
    Nothing,
    /// The grant has this request id from now on, since other requests may rely on it.
    Others(RequestId),
    /// The grant has reached nobody.
    Last,
}

/// The requests that were answered with one grant and have not given it back.
#[derive(Debug, Clone, Copy)]
struct AnsweredRequests {
    count: u64,
    /// The sum of the requests' hashes.
    sum: u64,
}

/// The value is stored in the bits below and above the marks of request ids, which are four bits.
const LOW_BITS: u32 = RequestId::SEVERAL_BIT.trailing_zeros();
const HIGH_BITS_FROM: u32 = LOW_BITS + 4;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;

const COUNT_BITS: u32 = 14;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;
const SUM_BITS: u32 = 63 - (HIGH_BITS_FROM - LOW_BITS) - COUNT_BITS;
const SUM_MASK: u64 = (1 << SUM_BITS) - 1;

impl AnsweredRequests {
    /// The requests of a grant's id.
    const fn of(id: RequestId) -> Self {
        if !id.is_of_several() {
            return Self { count: 1, sum: hash(id) };
        }
        let stored = id.0.cast_unsigned();
        let value = ((stored >> HIGH_BITS_FROM) << LOW_BITS) | (stored & LOW_MASK);
        Self { count: value & MAX_COUNT, sum: value >> COUNT_BITS }
    }

    /// The request id of their grant.
    const fn id(self) -> RequestId {
        let value = (self.sum << COUNT_BITS) | self.count;
        let stored = ((value >> LOW_BITS) << HIGH_BITS_FROM) | (value & LOW_MASK);
        RequestId(stored.cast_signed() | RequestId::SEVERAL_BIT)
    }
}

/// A hash of the id of one request, kept or not, to which each of its bits contributes.
const fn hash(id: RequestId) -> u64 {
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
    let kept = id.kept().0.cast_unsigned();
    kept.wrapping_mul(GOLDEN_RATIO) >> (u64::BITS - SUM_BITS)
}

impl RequestId {
    /// Whether this is the id of a grant that was answered to several requests, which the id still tells.
    pub const fn is_of_several(self) -> bool {
        self.0 > 0 && self.0 & Self::SEVERAL_BIT != 0
    }

    /// Whether this is the id of a grant that belongs to a request or to several.
    const fn is_of_requests(self) -> bool {
        self.0 != Self::NONE.0 && self.0 != Self::EXPIRY_RECORDED.0
    }

    /// The id of a grant with this id after it was answered to another request.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let AnsweredRequests { count, sum } = AnsweredRequests::of(self);
        if !self.is_of_requests() || count == MAX_COUNT {
            return Self::NONE;
        }
        AnsweredRequests { count: count + 1, sum: (sum + hash(other)) & SUM_MASK }.id()
    }

    /// What becomes of a grant with this id when a request gives its answer back.
    pub const fn give_back(self, request_id: Self) -> GivenBack {
        if !self.is_of_several() {
            let is_own = self.is_of_requests() && self.kept().0 == request_id.kept().0;
            return if is_own { GivenBack::Last } else { GivenBack::Nothing };
        }
        let AnsweredRequests { count, sum } = AnsweredRequests::of(self);
        let sum = sum.wrapping_sub(hash(request_id)) & SUM_MASK;
        match (count, sum) {
            (1, 0) => GivenBack::Last,
            // A request was subtracted that was never added, so it is not known who relies on the grant.
            (0 | 1, _) => GivenBack::Others(Self::NONE),
            _ => GivenBack::Others(AnsweredRequests { count: count - 1, sum }.id()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RequestFlags;

    fn request(n: u64) -> RequestId {
        let random = n.wrapping_mul(0xd134_2543_de82_ef95) & !0xf000 | 0x4000;
        RequestId::new(random, RequestFlags { reentrant: n.is_multiple_of(2), guarded: n.is_multiple_of(3) })
    }

    fn all(requests: impl IntoIterator<Item = u64>) -> RequestId {
        requests.into_iter().map(request).reduce(RequestId::and).expect("there are requests")
    }

    /// Gives back the answers of these requests. Returns what became of the grant with the last one.
    fn give_back(mut id: RequestId, requests: impl IntoIterator<Item = u64>) -> GivenBack {
        let mut given_back = GivenBack::Nothing;
        for n in requests {
            given_back = id.give_back(request(n));
            if let GivenBack::Others(left) = given_back {
                id = left;
            }
        }
        given_back
    }

    #[test]
    fn the_last_of_all_requests_gives_the_grant_back_in_any_order() {
        for count in [1, 2, 3, 100, 10_000] {
            assert_eq!(give_back(all(1..=count), 1..=count), GivenBack::Last, "{count}");
            assert_eq!(give_back(all(1..=count), (1..=count).rev()), GivenBack::Last, "{count}");
        }
    }

    #[test]
    fn a_request_that_does_not_give_back_keeps_the_grant_whatever_the_others_do() {
        for kept in 1..=4 {
            let others = (1..=4).filter(|n| *n != kept);
            assert!(matches!(give_back(all(1..=4), others.clone()), GivenBack::Others(_)));
            // One more than were answered, one of them twice, and many times.
            for more in [vec![5], others.clone().take(1).collect(), others.clone().cycle().take(50).collect()]
            {
                let given_back = give_back(all(1..=4), others.clone().chain(more));
                assert!(!matches!(given_back, GivenBack::Last));
            }
        }
    }

    #[test]
    fn a_kept_grant_is_given_back_by_its_request_alone_or_as_one_of_several() {
        let (first, second) = (request(1), request(2));
        assert_eq!(first.kept().give_back(first), GivenBack::Last);
        assert_eq!(first.kept().give_back(second), GivenBack::Nothing);
        let GivenBack::Others(left) = first.kept().and(second).give_back(first) else { panic!("lost") };
        assert_eq!(left.give_back(second), GivenBack::Last);
    }

    #[test]
    fn a_grant_of_nobody_stays_so() {
        for id in [RequestId::NONE, RequestId::EXPIRY_RECORDED] {
            assert_eq!(id.and(request(1)), RequestId::NONE);
            assert_eq!(id.give_back(id), GivenBack::Nothing);
        }
        let too_many = all(1..=MAX_COUNT + 1);
        assert_eq!((too_many, too_many.give_back(request(1))), (RequestId::NONE, GivenBack::Nothing));
    }

    /// Replicas of an earlier version read the id as one of a request that they do not know.
    #[test]
    fn an_id_of_several_requests_is_no_other_mark() {
        for count in 2..100 {
            let id = all(1..=count);
            assert!(id.is_of_several() && !id.is_kept() && id.flags() == RequestFlags::default());
            assert!((1..=count).all(|n| !request(n).is_of_several() && !request(n).kept().is_of_several()));
        }
    }

    /// The ids are stored, and replicas of several versions read them.
    #[test]
    fn the_stored_bits_never_change() {
        let id = RequestId(0x7fff_ffff_ffff_a7ff).and(RequestId(1));
        assert_eq!(AnsweredRequests::of(id).count, 2);
        assert_eq!(id.0, 0x1582_7df1_d1ac_0802);
    }
}
