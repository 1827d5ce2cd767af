//! Finds the pieces of a glob in a text.
//!
//! A client chooses both, and a glob such as `*aaaab` almost matches a long text at each of its characters. So the comparison at one place
//! is a loop without branches over whole words, for which the compiler uses vectors, and not a step of an iterator for each character.

use std::ops::{BitAnd, BitOr, BitXor, Range};

use super::Piece;

/// A character, or the byte of one.
trait Unit:
    Copy + Default + PartialEq + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
    /// All bits.
    const ALL: Self;

    fn of(char: char) -> Self;
}

impl Unit for u8 {
    const ALL: Self = Self::MAX;

    /// In a text of ASCII there is no other character.
    fn of(char: char) -> Self {
        if char.is_ascii() { char as Self } else { Self::MAX }
    }
}

impl Unit for u32 {
    const ALL: Self = Self::MAX;

    fn of(char: char) -> Self {
        char.into()
    }
}

/// Whether pieces fit a whole text.
pub(super) fn fits(pieces: impl Iterator<Item = Piece>, text: &str) -> bool {
    if text.is_ascii() {
        fits_units(pieces, text.as_bytes())
    } else {
        fits_units(pieces, &text.chars().map(u32::of).collect::<Vec<_>>())
    }
}

fn fits_units<U: Unit>(pieces: impl Iterator<Item = Piece>, text: &[U]) -> bool {
    let runs = Runs::of(pieces);
    let last = runs.ends.len();
    let (first_len, last_len) = (runs.len(0), runs.len(last));
    if last == 0 {
        return first_len == text.len() && runs.is_at(0, text);
    }
    if first_len + last_len > text.len() {
        return false;
    }
    let (start, rest) = text.split_at(first_len);
    let (mut rest, end) = rest.split_at(rest.len() - last_len);
    // Each run between takes the first place that fits: what follows has the most room then.
    let between = (1..last).all(|run| {
        let found = rest.windows(runs.len(run)).position(|place| runs.is_at(run, place));
        rest = found.map_or(&[], |at| &rest[at + runs.len(run)..]);
        found.is_some()
    });
    between && runs.is_at(0, start) && runs.is_at(last, end)
}

/// The pieces between two `*`, or before the first, or behind the last. A run between is not empty, since `**` is `*`.
#[derive(Debug)]
struct Runs<U> {
    units: Vec<U>,
    /// The bits that count of each unit: none where any character fits.
    masks: Vec<U>,
    /// Where each run but the last ends.
    ends: Vec<usize>,
}

impl<U: Unit> Runs<U> {
    fn of(pieces: impl Iterator<Item = Piece>) -> Self {
        let mut runs = Self { units: Vec::new(), masks: Vec::new(), ends: Vec::new() };
        for piece in pieces {
            let (unit, mask) = match piece {
                Piece::Char(char) => (U::of(char), U::ALL),
                Piece::One => (U::default(), U::default()),
                Piece::Any => {
                    if runs.ends.last() != Some(&runs.units.len()) {
                        runs.ends.push(runs.units.len());
                    }
                    continue;
                }
            };
            runs.units.push(unit);
            runs.masks.push(mask);
        }
        runs
    }

    fn range(&self, run: usize) -> Range<usize> {
        let start = if run == 0 { 0 } else { self.ends[run - 1] };
        start..self.ends.get(run).copied().unwrap_or(self.units.len())
    }

    fn len(&self, run: usize) -> usize {
        self.range(run).len()
    }

    /// Whether a run fits a text of its length.
    fn is_at(&self, run: usize, text: &[U]) -> bool {
        let (units, masks) = (&self.units[self.range(run)], &self.masks[self.range(run)]);
        let differences =
            units.iter().zip(masks).zip(text).map(|((own, mask), other)| (*own ^ *other) & *mask);
        differences.fold(U::default(), BitOr::bitor) == U::default()
    }
}
