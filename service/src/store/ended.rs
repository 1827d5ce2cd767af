//! Encoding of the ended versions in a key's row.
//!
//! Every command for a key writes this column, so it has to be short. Versions are grouped by the minute in which they
//! ended; a group holds the number of its versions and their digests. 64 versions of ten minutes take about 570 bytes.
//! Earlier versions of this program stored up to eight whole versions. Their length is always a multiple of 16 bytes;
//! the length of the present form never is.
//!
//! Grants that an operator ended by force follow in a longer form, with the operator and the reason.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::{
    EndedVersion, EndedVersions, Reason, Revocation, Revocations, Timestamp, Version, VersionDigest,
};

/// The first byte of the form without grants that were ended by force.
const FORM: u8 = 1;
/// The first byte of the form with grants that were ended by force: the length of the groups follows, in two bytes.
const FORM_WITH_REVOCATIONS: u8 = 2;
/// The length that marks an absent text.
const NO_TEXT: u16 = u16::MAX;
/// The length of a whole version, as earlier versions of this program stored it.
const VERSION_BYTES: usize = 16;
/// The length of a digest.
const DIGEST_BYTES: usize = 8;
/// Milliseconds in a minute. A group's time is stored as whole minutes since 1970, in four bytes.
const MINUTE_MS: i64 = 60_000;

/// Encodes the content of the column.
pub(super) fn encode(ended: &EndedVersions, revoked: &Revocations) -> Vec<u8> {
    let (all, revoked) = (ended.as_slice(), revoked.as_slice());
    if all.is_empty() && revoked.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(all.len() * DIGEST_BYTES + 64);
    if revoked.is_empty() {
        bytes.push(FORM);
        put_groups(&mut bytes, all);
    } else {
        bytes.extend([FORM_WITH_REVOCATIONS, 0, 0]);
        put_groups(&mut bytes, all);
        let length = u16::try_from(bytes.len() - 3).unwrap_or(u16::MAX);
        bytes[1..3].copy_from_slice(&length.to_be_bytes());
        for revocation in revoked {
            put_revocation(&mut bytes, revocation);
        }
    }
    if bytes.len().is_multiple_of(VERSION_BYTES) {
        bytes.push(0);
    }
    bytes
}

fn put_groups(bytes: &mut Vec<u8>, all: &[EndedVersion]) {
    for group in all.chunk_by(|one, next| minute_of(one.at) == minute_of(next.at)) {
        bytes.extend(minute_of(group[0].at).to_be_bytes());
        // A history has at most 64 entries.
        bytes.push(u8::try_from(group.len()).unwrap_or(u8::MAX));
        bytes.extend(group.iter().flat_map(|ended| ended.digest.0.to_be_bytes()));
    }
}

fn put_revocation(bytes: &mut Vec<u8>, revocation: &Revocation) {
    bytes.extend(revocation.digest.0.to_be_bytes());
    bytes.extend(revocation.at.0.to_be_bytes());
    for text in [revocation.by.as_deref(), revocation.reason.as_ref().map(Reason::as_str)] {
        // All texts of a key have at most 40,000 bytes.
        let length = text.map_or(Ok(NO_TEXT), |text| u16::try_from(text.len()));
        bytes.extend(length.unwrap_or(NO_TEXT).to_be_bytes());
        bytes.extend(text.unwrap_or_default().as_bytes());
    }
}

/// Decodes the content of the column; `None` if it cannot be read. `updated_at` is the time of the row. It takes the
/// place of the end times that the earlier form lacks: those versions had ended by then.
pub(super) fn decode(bytes: &[u8], updated_at: Timestamp) -> Option<(EndedVersions, Revocations)> {
    let (versions, rest) = bytes.as_chunks::<VERSION_BYTES>();
    if rest.is_empty() {
        let ended = |bytes: &[u8; VERSION_BYTES]| EndedVersion {
            digest: VersionDigest::of(Version(Uuid::from_bytes(*bytes))),
            at: updated_at,
        };
        let ended = versions.iter().map(ended).collect();
        return Some((EndedVersions::new(ended), Revocations::default()));
    }
    match *bytes {
        [FORM, ref groups @ ..] => Some((read_groups(groups)?, Revocations::default())),
        [FORM_WITH_REVOCATIONS, high, low, ref rest @ ..] => {
            let (groups, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
            Some((read_groups(groups)?, read_revocations(rest)?))
        }
        _ => None,
    }
}

fn read_groups(mut rest: &[u8]) -> Option<EndedVersions> {
    let mut ended = Vec::new();
    while let Some((minute, after)) = rest.split_first_chunk::<4>() {
        let (count, after) = after.split_first()?;
        let (group, after) = after.split_at_checked(usize::from(*count) * DIGEST_BYTES)?;
        let at = Timestamp(i64::from(u32::from_be_bytes(*minute)) * MINUTE_MS);
        let (digests, _) = group.as_chunks::<DIGEST_BYTES>();
        ended.extend(
            digests
                .iter()
                .map(|digest| EndedVersion { digest: VersionDigest(u64::from_be_bytes(*digest)), at }),
        );
        rest = after;
    }
    matches!(rest, [] | [0]).then(|| EndedVersions::new(ended))
}

fn read_revocations(mut rest: &[u8]) -> Option<Revocations> {
    let mut revoked = Vec::new();
    while let Some((digest, after)) = rest.split_first_chunk::<DIGEST_BYTES>() {
        let (at, mut after) = after.split_first_chunk::<8>()?;
        let (digest, at) = (VersionDigest(u64::from_be_bytes(*digest)), Timestamp(i64::from_be_bytes(*at)));
        let (by, reason);
        (by, after) = read_text(after)?;
        (reason, after) = read_text(after)?;
        let (by, reason) = (by.map(Arc::from), reason.map(Reason::trusted));
        revoked.push(Revocation { digest, at, by, reason });
        rest = after;
    }
    (matches!(rest, [] | [0]) && !revoked.is_empty()).then(|| Revocations::new(revoked))
}

/// Reads a text or its absence. Returns the bytes that follow, too.
fn read_text(rest: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let length = u16::from_be_bytes(*length);
    if length == NO_TEXT {
        return Some((None, after));
    }
    let (text, after) = after.split_at_checked(length.into())?;
    Some((Some(std::str::from_utf8(text).ok()?), after))
}

/// Rounds a time up to a whole minute, so that no version is forgotten early.
fn minute_of(at: Timestamp) -> u32 {
    let minutes = at.0.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS);
    u32::try_from(minutes.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Now;

    fn version(number: u128) -> Version {
        Version(Uuid::from_u128(number))
    }

    /// `count` versions that ended one after another, `every_ms` apart.
    fn ended(count: u128, every_ms: i64) -> EndedVersions {
        let mut ended = EndedVersions::default();
        for number in 0..count {
            let at = 1_795_000_000_000 + i64::try_from(number).unwrap_or_default() * every_ms;
            ended.push(version(number), Now::exactly(at));
        }
        ended
    }

    #[test]
    fn decoding_restores_digests_and_rounds_times_up() {
        for (count, every_ms) in [(0, 0), (1, 0), (3, 1), (8, 100_000), (64, 9_000), (64, 1), (200, 700_000)]
        {
            let ended = ended(count, every_ms);
            let bytes = encode(&ended, &Revocations::default());
            assert!(count == 0 || !bytes.len().is_multiple_of(VERSION_BYTES), "{count} {every_ms}");
            let Some((read, _)) = decode(&bytes, Timestamp(0)) else {
                panic!("{count} {every_ms}: {bytes:?}")
            };
            assert_eq!(read.as_slice().len(), ended.as_slice().len());
            for (read, ended) in read.as_slice().iter().zip(ended.as_slice()) {
                assert_eq!(read.digest, ended.digest);
                assert!((0..MINUTE_MS).contains(&read.at.ms_since(ended.at)));
            }
            assert_eq!(encode(&read, &Revocations::default()), bytes);
        }
    }

    /// Every command for a key writes its row, so the encoding has to be short.
    #[test]
    fn a_full_history_of_ten_minutes_is_short() {
        let most = [1, 1_000, 9_375]
            .map(|every_ms| encode(&ended(64, every_ms), &Revocations::default()).len())
            .into_iter()
            .max();
        assert!(most.is_some_and(|most| most <= 600), "{most:?}");
    }

    #[test]
    fn the_form_of_earlier_versions_is_read() {
        let bytes: Vec<u8> = (1..=8).flat_map(|number| version(number).0.into_bytes()).collect();
        let Some((ended, _)) = decode(&bytes, Timestamp(5)) else { panic!("it is read") };
        assert!((1..=8).all(|number| ended.contains(version(number))));
        assert!(ended.as_slice().iter().all(|ended| ended.at == Timestamp(5)));
    }

    fn revoked(count: u128, reason: &str) -> Revocations {
        let mut revoked = Revocations::default();
        for number in 0..count {
            let now = Now::exactly(1_795_000_000_000);
            let (by, reason) = (Some(Arc::from("token:ops")), Some(Reason::trusted(reason)));
            let (by, reason) = if number % 3 == 0 { (None, None) } else { (by, reason) };
            let revocation = Revocation { digest: VersionDigest(0), at: now.at_most, by, reason };
            revoked.push(Revocation { digest: VersionDigest::of(version(number)), ..revocation }, now);
        }
        revoked
    }

    #[test]
    fn grants_that_were_ended_by_force_are_read_as_they_were_written() {
        let longest = "\u{1f512}".repeat(1_000);
        for (count, reason) in [(1, ""), (2, "stuck"), (7, "a b c"), (64, "stuck"), (64, longest.as_str())] {
            for ended in [ended(0, 1), ended(3, 1), ended(64, 9_000)] {
                let revoked = revoked(count, reason);
                let bytes = encode(&ended, &revoked);
                assert!(
                    !bytes.len().is_multiple_of(VERSION_BYTES) && bytes.len() <= 45_000,
                    "{}",
                    bytes.len()
                );
                let Some((read_ended, read)) = decode(&bytes, Timestamp(0)) else {
                    panic!("{count} {reason}")
                };
                assert_eq!((read_ended.as_slice().len(), &read), (ended.as_slice().len(), &revoked));
                assert_eq!(decode(&bytes[..bytes.len() - 2], Timestamp(0)), None);
            }
        }
    }

    #[test]
    fn malformed_bytes_are_not_decoded() {
        let mut bytes = encode(&ended(5, 1), &Revocations::default());
        bytes.truncate(bytes.len() - 1);
        assert_eq!(decode(&bytes, Timestamp(0)), None);
        assert_eq!(decode(&[2, 0, 0], Timestamp(0)), None);
    }
}
