//! Globs: `*` stands for any characters, `?` for one, `\` quotes the next one. They match whole texts, byte for byte.

mod search;

use std::{
    fmt,
    str::{Chars, FromStr},
    sync::Arc,
};

/// The most characters of a glob.
pub const MAX_GLOB_CHARS: usize = 512;
/// The most globs of one credential.
pub const MAX_GLOBS: usize = 64;
/// The most characters of all globs of one credential together.
pub const MAX_PATTERN_CHARS: usize = 4_096;

/// A part of a glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// This character.
    Char(char),
    /// Any one character.
    One,
    /// Any characters, none included.
    Any,
}

/// Why a text is not a glob. The error is shown to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGlob {
    /// The text has no character.
    #[error("must not be empty")]
    Empty,
    /// The text is too long.
    #[error("must have at most {MAX_GLOB_CHARS} characters")]
    TooLong,
    /// The text has a control character, which no key has.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// The last character is a backslash that quotes nothing.
    #[error("must not end with a backslash that quotes nothing")]
    LoneBackslash,
    /// A list of globs is empty.
    #[error("must have at least one pattern")]
    NoPattern,
    /// A list of globs is too long.
    #[error("must have at most {MAX_GLOBS} patterns")]
    TooMany,
    /// The globs of a list are too long together.
    #[error("must have at most {MAX_PATTERN_CHARS} characters in all patterns together")]
    TooLongTogether,
}

/// A glob. Its pieces are read from its text again for each match: as characters they would take four times the memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: Arc<str>,
}

/// The pieces of a text that is a glob.
#[derive(Clone)]
struct Pieces<'a>(Chars<'a>);

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        Some(match self.0.next()? {
            '*' => Piece::Any,
            '?' => Piece::One,
            // No glob ends with a backslash that quotes nothing.
            '\\' => Piece::Char(self.0.next().unwrap_or('\\')),
            other => Piece::Char(other),
        })
    }
}

impl FromStr for Glob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        if text.is_empty() {
            return Err(InvalidGlob::Empty);
        }
        if text.chars().count() > MAX_GLOB_CHARS {
            return Err(InvalidGlob::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidGlob::ControlCharacter);
        }
        let mut chars = text.chars();
        while let Some(next) = chars.next() {
            if next == '\\' {
                chars.next().ok_or(InvalidGlob::LoneBackslash)?;
            }
        }
        Ok(Self { text: text.into() })
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl Glob {
    /// The text of the glob.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn pieces(&self) -> Pieces<'_> {
        Pieces(self.text.chars())
    }

    /// Whether the glob matches a whole text.
    pub fn matches(&self, text: &str) -> bool {
        // Most globs begin with characters that stand for themselves.
        let is_same =
            |(own, other): &(u8, u8)| own == other && own.is_ascii() && !matches!(own, b'*' | b'?' | b'\\');
        let same = self.text.bytes().zip(text.bytes()).take_while(is_same).count();
        let (_, pieces) = self.text.split_at(same);
        let (_, rest) = text.split_at(same);
        if pieces.bytes().next().is_some_and(|own| own.is_ascii() && !matches!(own, b'*' | b'?' | b'\\')) {
            // It is another character than the text's, or the text is over.
            return false;
        }
        pieces == "*" || search::fits(Pieces(pieces.chars()), rest)
    }

    /// Whether `outer` matches everything that this glob matches, as far as a comparison piece by piece shows that, with the `steps`
    /// that are left.
    pub(super) fn lies_within(&self, outer: &Self, steps: &mut usize) -> bool {
        let one = |piece, own: &Piece| match piece {
            Piece::Char(_) => piece == *own,
            Piece::One => *own != Piece::Any,
            Piece::Any => false,
        };
        fits(outer.pieces(), self.pieces(), one, steps)
    }

    /// The text with which everything begins that this glob matches.
    pub(super) fn literal_prefix(&self) -> String {
        let literal = |piece| match piece {
            Piece::Char(char) => Some(char),
            Piece::One | Piece::Any => None,
        };
        self.pieces().map_while(literal).collect()
    }
}

/// Whether pieces fit all items from first to last, as far as the `steps` that are left show that. `one` says whether a piece other than
/// [`Piece::Any`] fits an item.
///
/// When an item does not fit, only the last `*` before it has to take one more: it can take all that an earlier one
/// could.
fn fits<I: Iterator + Clone>(
    mut pieces: Pieces<'_>,
    mut items: I,
    one: impl Fn(Piece, &I::Item) -> bool,
    steps: &mut usize,
) -> bool {
    let mut retry: Option<(Pieces<'_>, I)> = None;
    loop {
        match steps.checked_sub(1) {
            Some(left) => *steps = left,
            None => return false,
        }
        let piece = pieces.next();
        if piece == Some(Piece::Any) {
            retry = Some((pieces.clone(), items.clone()));
            continue;
        }
        match (piece, items.next()) {
            (piece, None) => return piece.is_none(),
            (Some(piece), Some(item)) if one(piece, &item) => continue,
            (_, Some(_)) => {}
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (pieces, items) = (after.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests;
