//! Request ids: the caller's own, or a new one.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
};

use super::head_memory::copy_of;
use axum::http::{HeaderName, HeaderValue};
use uuid::{Builder, fmt::Hyphenated};

/// The header with the request id, in requests and answers.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id of a caller that is used.
const MAX_LENGTH: usize = 128;

/// The id of a request: the caller's if it is usable, otherwise a new one.
pub(crate) fn of(own: Option<&HeaderValue>) -> HeaderValue {
    match own {
        Some(own) if is_usable(own.as_bytes()) => copy_of(own),
        _ => new_id(),
    }
}

fn is_usable(id: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// A unique UUID of version 4, which is not a secret: a counter with a random start, passed through a mixing function. Random
/// bytes from the system would cost more than all other work for the id.
pub(crate) fn new_id() -> HeaderValue {
    thread_local! {
        static STATE: Cell<[u64; 2]> = {
            // Each `RandomState` has random keys from the system.
            Cell::new([0_u8, 1].map(|which| RandomState::new().hash_one(which)))
        };
    }
    let [high, low] = STATE.with(|state| {
        let next = state.get().map(|word| word.wrapping_add(0x9E37_79B9_7F4A_7C15));
        state.set(next);
        next.map(mix)
    });
    let uuid =
        Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid();
    let mut text = [0; Hyphenated::LENGTH];
    let text = uuid.as_hyphenated().encode_lower(&mut text);
    // Hexadecimal digits and hyphens are always a valid value.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}

/// The finalizer of `SplitMix64`.
const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;

    fn id_for(own: &[u8]) -> HeaderValue {
        of(Some(&HeaderValue::from_bytes(own).unwrap()))
    }

    #[test]
    fn a_usable_id_is_taken_over() {
        for id in [&b"a"[..], b"req-1/2!~", &[b'x'; 128]] {
            assert_eq!(id_for(id).as_bytes(), id);
        }
    }

    #[test]
    fn any_other_is_replaced_by_a_uuid() {
        for id in [&b""[..], b"a b", b"\xc3\xa9", b"a\tb", &[b'x'; 129]] {
            let new = id_for(id);
            assert_eq!(Uuid::parse_str(new.to_str().unwrap()).unwrap().get_version_num(), 4);
        }
    }

    #[test]
    fn new_ids_differ_within_and_between_threads() {
        let ids = || (0..10_000).map(|_| new_id()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(ids)).collect();
        let all: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 40_000);
    }
}
