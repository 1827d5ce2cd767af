//! Epochs: the high part of fencing tokens. Because of them tokens grow even if a database forgets its last commits.
//!
//! A promoted standby may lack the last grants, and a backup lacks all later ones. The lost grants are unknown, but
//! their tokens belong to an earlier epoch.

use super::Token;

/// The number of tokens of an epoch. A key that has more grants in one epoch goes on: the next raise is still above its
/// tokens, since so many grants take many seconds.
pub const TOKENS_OF_AN_EPOCH: i64 = 1 << 22;

/// An epoch, below 2^31, so that its tokens are below 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(i64);

impl Epoch {
    /// The last epoch. A raised epoch is never less than the seconds since 2026, so this one is reached in 2094.
    pub const LAST: Self = Self((1 << 31) - 1);

    /// The epoch with this number; `None` if there is none.
    pub fn new(number: i64) -> Option<Self> {
        (0..=Self::LAST.0).contains(&number).then_some(Self(number))
    }

    /// The number of the epoch.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The epoch after the stored one and the highest one ever seen, and not below the seconds since 2026 by the
    /// database's clock; `None` if that clock is beyond all epochs.
    ///
    /// Counting alone is not enough: a primary that restarts and its standby that is promoted would count to the same
    /// number.
    pub fn after(stored: Self, seen: Self, seconds: i64) -> Option<Self> {
        Self::new((stored.max(seen).0 + 1).max(seconds))
    }

    /// The last token of all earlier epochs.
    const fn base(self) -> Token {
        Token(self.0 * TOKENS_OF_AN_EPOCH)
    }
}

impl Token {
    /// The number above all tokens, 2^53.
    pub const END: i64 = 1 << 53;

    /// The token of the next grant of a key.
    #[must_use]
    pub fn next(self, epoch: Epoch) -> Self {
        Self(self.max(epoch.base()).0 + 1)
    }

    /// The token of a key without a row, raised above the floor of its tenant. The stores do this in the statement that
    /// reads the floor.
    #[must_use]
    pub fn above_floor(self, floor: i64) -> Self {
        self.max(Self(self.0 % TOKENS_OF_AN_EPOCH + floor))
    }

    /// Whether a key with this last token can be granted another one.
    pub const fn has_next(self) -> bool {
        0 <= self.0 && self.0 < Self::END - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epochs() -> impl Strategy<Value = Epoch> {
        prop_oneof![Just(0), 0..=Epoch::LAST.0, Just(Epoch::LAST.0)].prop_map(Epoch)
    }

    proptest! {
        /// Guards invariant 2.
        #[test]
        fn tokens_grow_and_stay_below_two_to_the_53(token in 0..Token::END - 1, epoch in epochs()) {
            let token = Token(token);
            prop_assert!(token.has_next());
            let next = token.next(epoch);
            prop_assert!(token < next && epoch.base() < next && next.0 < Token::END);
        }

        /// Guards invariant 2: grants after the last known commit belong to an earlier epoch.
        #[test]
        fn a_raise_is_above_all_tokens_that_may_be_lost(
            epoch in epochs(), lost in 1..TOKENS_OF_AN_EPOCH, seen in epochs(), seconds in any::<i64>()
        ) {
            let mut token = Token::default();
            token = token.next(epoch);
            let last = Token(token.0 + lost - 1);
            match Epoch::after(epoch, seen, seconds) {
                Some(raised) => {
                    prop_assert!(raised > epoch && raised > seen && raised.number() >= seconds);
                    prop_assert!(Token::default().next(raised) > last);
                }
                None => prop_assert!(
                    seconds > Epoch::LAST.0 || epoch == Epoch::LAST || seen == Epoch::LAST
                ),
            }
        }

        /// Guards invariant 2: a key that is created again begins above all of its earlier tokens.
        #[test]
        fn a_new_key_begins_above_the_floor_and_in_the_epoch(floor in 0..Token::END / 2, epoch in epochs()) {
            let decided = Token::default().next(epoch);
            let token = decided.above_floor(floor);
            prop_assert!(token >= decided && token.0 > floor && token.0 < Token::END);
            let second = decided.next(epoch).above_floor(floor);
            prop_assert_eq!(second.0, token.0 + 1, "both are raised by as much");
            prop_assert_eq!(Token::default().above_floor(floor), Token(floor));
        }
    }

    #[test]
    fn a_new_database_begins_with_token_1() {
        assert_eq!(Token::default().next(Epoch::default()), Token(1));
    }

    #[test]
    fn a_clock_beyond_2094_is_refused() {
        assert_eq!(Epoch::after(Epoch(3), Epoch(7), 5), Some(Epoch(8)));
        assert_eq!(Epoch::after(Epoch(3), Epoch(7), 29_000_000), Some(Epoch(29_000_000)));
        assert_eq!(Epoch::after(Epoch(3), Epoch(7), 1 << 31), None);
        assert_eq!((Epoch::new(-1), Epoch::new(1 << 31)), (None, None));
    }
}
