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
/// The most characters of all globs of one credential together. Comparing two credentials takes the product of their characters in
/// steps, which is some 5 ms with this limit.
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
        pieces == "*" || search::fits(Pieces(pieces.chars()), rest)
    }

    /// Whether `outer` matches everything that this glob matches, as far as a comparison piece by piece shows that.
    pub(super) fn lies_within(&self, outer: &Self) -> bool {
        fits(outer.pieces(), self.pieces(), |piece, own| match piece {
            Piece::Char(_) => piece == *own,
            Piece::One => *own != Piece::Any,
            Piece::Any => false,
        })
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

/// Whether pieces fit all items from first to last. `one` says whether a piece other than [`Piece::Any`] fits an item.
///
/// When an item does not fit, only the last `*` before it has to take one more: it can take all that an earlier one
/// could.
fn fits<I: Iterator + Clone>(
    mut pieces: Pieces<'_>,
    mut items: I,
    one: impl Fn(Piece, &I::Item) -> bool,
) -> bool {
    let mut retry: Option<(Pieces<'_>, I)> = None;
    loop {
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
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        text.parse().unwrap()
    }

    #[test]
    fn a_glob_matches_whole_texts() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a/b"),
            ("deploy/*", "deploy/"),
            ("deploy/*", "deploy/web/1"),
            ("a?c", "aéc"),
            ("*a*b", "xxaxxbb"),
            (r"a\*", "a*"),
            (r"\?", "?"),
            ("[a]", "[a]"),
            ("a**b", "ab"),
            ("*?é*é?*", "aéaéa"),
            ("*ab*ab", "abab"),
        ] {
            assert!(glob(pattern).matches(text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("deploy/*", "deploy"),
            ("deploy/*", "xdeploy/a"),
            ("a?c", "ac"),
            ("a?c", "abbc"),
            (r"a\*", "ab"),
            ("A", "a"),
            ("a", "a "),
            ("*a", "ab"),
            ("*ab*ab", "aab"),
            ("a*a", "a"),
            ("é*", "a"),
        ] {
            assert!(!glob(pattern).matches(text), "{pattern} {text}");
        }
    }

    #[test]
    fn an_invalid_glob_has_its_own_error() {
        assert_eq!("".parse::<Glob>(), Err(InvalidGlob::Empty));
        assert_eq!(r"a\".parse::<Glob>(), Err(InvalidGlob::LoneBackslash));
        assert_eq!("a\n".parse::<Glob>(), Err(InvalidGlob::ControlCharacter));
        assert_eq!("a".repeat(513).parse::<Glob>(), Err(InvalidGlob::TooLong));
    }

    #[test]
    fn a_pattern_lies_within_another_that_matches_it() {
        for (inner, outer) in
            [("deploy/web*", "deploy/*"), ("a", "a"), ("*", "*"), ("a?", "a*"), ("a?", "a?"), (r"\*", r"\*")]
        {
            assert!(glob(inner).lies_within(&glob(outer)), "{inner} {outer}");
        }
        for (inner, outer) in
            [("*", "deploy/*"), ("a*", "a?"), ("deploy*", "deploy/*"), (r"a\*", r"a\\*"), ("?", "a")]
        {
            assert!(!glob(inner).lies_within(&glob(outer)), "{inner} {outer}");
        }
    }

    #[test]
    fn a_glob_has_a_literal_prefix() {
        let prefixes = ["deploy/*", r"a\*?", "a", "*"].map(|text| glob(text).literal_prefix());
        assert_eq!(prefixes, ["deploy/", "a*", "a", ""]);
    }

    /// Tries all ways in which the pieces may fit.
    fn fits_somehow(pieces: &[Piece], text: &[char]) -> bool {
        match (pieces, text) {
            ([], _) => text.is_empty(),
            ([Piece::Any, rest @ ..], _) => (0..=text.len()).any(|taken| fits_somehow(rest, &text[taken..])),
            ([Piece::One, pieces @ ..], [_, rest @ ..]) => fits_somehow(pieces, rest),
            ([Piece::Char(own), pieces @ ..], [char, rest @ ..]) => own == char && fits_somehow(pieces, rest),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_exactly_what_its_pieces_fit(
            pattern in r"(a|b|é|\*|\?|\\[ab*?\\]){1,8}", text in r"[abé*?\\]{0,8}",
        ) {
            let glob = glob(&pattern);
            let chars: Vec<_> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), fits_somehow(&glob.pieces().collect::<Vec<_>>(), &chars));
        }

        #[test]
        fn a_glob_within_another_matches_nothing_more(
            inner in r"[ab*?\\]{1,5}", outer in r"[ab*?\\]{1,5}", text in r"[ab*?\\]{0,6}",
        ) {
            if let (Ok(inner), Ok(outer)) = (inner.parse::<Glob>(), outer.parse::<Glob>()) {
                prop_assert!(!inner.lies_within(&outer) || !inner.matches(&text) || outer.matches(&text));
            }
        }
    }
}
