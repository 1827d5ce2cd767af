//! The length of a body, as its head or its chunks declare it.
//!
//! hyper accepts more. What is accepted here means the same to every reader.

use super::begun_line::KEPT;

const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// The declared length of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// None so far. Without one a request has no body.
    Undeclared,
    /// `Content-Length`.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl BodyLength {
    /// Adds a header. False if it must be refused: a head declares a length once, in a header of at most [`KEPT`] bytes.
    #[inline]
    pub(super) fn add(&mut self, header: &[u8]) -> bool {
        // Most headers have other names.
        !matches!(header.first(), Some(b'c' | b'C' | b't' | b'T')) || self.declare(header)
    }

    fn declare(&mut self, header: &[u8]) -> bool {
        let declared = if let Some(value) = value_of(CONTENT_LENGTH, header) {
            number::<10>(value).map(Self::Known)
        } else if let Some(value) = value_of(TRANSFER_ENCODING, header) {
            value.eq_ignore_ascii_case(b"chunked").then_some(Self::Chunked)
        } else {
            return true;
        };
        let is_first = *self == Self::Undeclared && header.len() <= KEPT;
        declared.filter(|_| is_first).is_some_and(|declared| {
            *self = declared;
            true
        })
    }
}

/// The size of a chunk, from a line of at most [`KEPT`] bytes. Extensions of visible characters are ignored.
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, extensions) = line.split_at(end);
    let is_visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let is_size =
        extensions.is_empty() || trim(extensions).starts_with(b";") && extensions.iter().all(is_visible);
    number::<16>(size).filter(|_| is_size && line.len() <= KEPT)
}

/// The value of a header if it has this name. hyper refuses space between a name and its colon.
fn value_of<'a>(name: &[u8], header: &'a [u8]) -> Option<&'a [u8]> {
    let is_named = header.get(name.len()) == Some(&b':') && header[..name.len()].eq_ignore_ascii_case(name);
    is_named.then(|| trim(&header[name.len() + 1..]))
}

/// Trims spaces and tabs, and no other space.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A number of digits only.
fn number<const RADIX: u32>(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| char::from(*byte).to_digit(RADIX).map(u64::from);
    let more = |number: u64, byte| number.checked_mul(RADIX.into())?.checked_add(digit(byte)?);
    let (first, others) = digits.split_first()?;
    others.iter().try_fold(digit(first)?, more)
}
