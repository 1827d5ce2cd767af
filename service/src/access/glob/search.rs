//! Finds the pieces of a glob in a text.
//!
//! A client chooses both, and a glob such as `*aaaab` almost matches a long text at each of its characters. So the comparison at one place
//! is a loop without branches over whole words, for which the compiler uses vectors, and not a step of an iterator for each character.

use std::ops::{BitAnd, BitOr, BitXor};

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
    let runs = runs(pieces);
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return false };
    if runs.len() == 1 {
        return first.units.len() == text.len() && first.is_at(text);
    }
    if first.units.len() + last.units.len() > text.len() {
        return false;
    }
    let (start, rest) = text.split_at(first.units.len());
    let (mut rest, end) = rest.split_at(rest.len() - last.units.len());
    // Each run between takes the first place that fits: what follows has the most room then.
    let between = runs[1..runs.len() - 1].iter().all(|run| {
        let found = rest.windows(run.units.len().max(1)).position(|place| run.is_at(place));
        let found = if run.units.is_empty() { Some(0) } else { found };
        rest = found.map_or(&[], |at| &rest[at + run.units.len()..]);
        found.is_some()
    });
    between && first.is_at(start) && last.is_at(end)
}

/// The pieces between two `*`, or before the first, or behind the last.
#[derive(Debug, Default)]
struct Run<U> {
    units: Vec<U>,
    /// The bits that count of each unit: none where any character fits.
    masks: Vec<U>,
}

fn runs<U: Unit>(pieces: impl Iterator<Item = Piece>) -> Vec<Run<U>> {
    let mut runs = vec![Run::default()];
    for piece in pieces {
        match (piece, runs.last_mut()) {
            (Piece::Any, _) | (_, None) => runs.push(Run::default()),
            (Piece::One, Some(run)) => run.push(U::default(), U::default()),
            (Piece::Char(char), Some(run)) => run.push(U::of(char), U::ALL),
        }
    }
    runs
}

impl<U: Unit> Run<U> {
    fn push(&mut self, unit: U, mask: U) {
        self.units.push(unit);
        self.masks.push(mask);
    }

    /// Whether the run fits a text of its length.
    fn is_at(&self, text: &[U]) -> bool {
        let differences =
            self.units.iter().zip(&self.masks).zip(text).map(|((own, mask), other)| (*own ^ *other) & *mask);
        differences.fold(U::default(), BitOr::bitor) == U::default()
    }
}
