//! Globs: `*` stands for any characters, `?` for one, `\` quotes the next one. They match whole texts, byte for byte.

use std::{fmt, str::FromStr, sync::Arc};

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

/// A glob.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: Arc<str>,
    pieces: Arc<[Piece]>,
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
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(next) = chars.next() {
            pieces.push(match next {
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' => Piece::Char(chars.next().ok_or(InvalidGlob::LoneBackslash)?),
                other => Piece::Char(other),
            });
        }
        Ok(Self { text: text.into(), pieces: pieces.into() })
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

    /// Whether the glob matches a whole text.
    pub fn matches(&self, text: &str) -> bool {
        fits(&self.pieces, text.chars(), |piece, char| match piece {
            Piece::Char(own) => own == *char,
            Piece::One => true,
            Piece::Any => false,
        })
    }

    /// Whether `outer` matches everything that this glob matches, as far as a comparison piece by piece shows that.
    fn lies_within(&self, outer: &Self) -> bool {
        fits(&outer.pieces, self.pieces.iter(), |piece, own| match piece {
            Piece::Char(_) => piece == **own,
            Piece::One => **own != Piece::Any,
            Piece::Any => false,
        })
    }

    /// The text with which everything begins that this glob matches.
    fn literal_prefix(&self) -> String {
        let literal = |piece: &Piece| match piece {
            Piece::Char(char) => Some(*char),
            Piece::One | Piece::Any => None,
        };
        self.pieces.iter().map_while(literal).collect()
    }
}

/// Whether pieces fit all items from first to last. `one` says whether a piece other than [`Piece::Any`] fits an item.
///
/// When an item does not fit, only the last `*` before it has to take one more: it can take all that an earlier one
/// could.
fn fits<I: Iterator + Clone>(pieces: &[Piece], items: I, one: impl Fn(Piece, &I::Item) -> bool) -> bool {
    let (mut at, mut rest) = (0, items);
    let mut retry: Option<(usize, I)> = None;
    loop {
        if pieces.get(at) == Some(&Piece::Any) {
            at += 1;
            retry = Some((at, rest.clone()));
            continue;
        }
        let Some(item) = rest.next() else { return at == pieces.len() };
        if pieces.get(at).is_some_and(|piece| one(*piece, &item)) {
            at += 1;
            continue;
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (at, rest) = (*after, from.clone());
    }
}

/// The globs of a credential, which may use the keys that one of them matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPatterns(Arc<[Glob]>);

impl KeyPatterns {
    /// Makes a list of globs: at least one, within the limits on their number and length.
    pub fn new(globs: Vec<Glob>) -> Result<Self, InvalidGlob> {
        match globs.len() {
            0 => Err(InvalidGlob::NoPattern),
            1..=MAX_GLOBS => {
                let chars: usize = globs.iter().map(|glob| glob.text.chars().count()).sum();
                if chars > MAX_PATTERN_CHARS {
                    return Err(InvalidGlob::TooLongTogether);
                }
                Ok(Self(globs.into()))
            }
            _ => Err(InvalidGlob::TooMany),
        }
    }

    /// The globs.
    pub fn globs(&self) -> &[Glob] {
        &self.0
    }

    /// Whether one of the globs matches a key.
    pub fn matches(&self, key: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(key))
    }

    /// Whether each of these globs lies within one of `outer`.
    pub fn lie_within(&self, outer: &Self) -> bool {
        self.0.iter().all(|own| outer.0.iter().any(|glob| own.lies_within(glob)))
    }

    /// For each glob, the text with which all keys begin that it matches.
    pub fn literal_prefixes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(Glob::literal_prefix)
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
        assert_eq!(KeyPatterns::new(vec![]), Err(InvalidGlob::NoPattern));
        let of = |number, length| KeyPatterns::new(vec![glob(&"a".repeat(length)); number]).err();
        assert_eq!([of(64, 64), of(65, 1), of(8, 513 - 1)], [None, Some(InvalidGlob::TooMany), None]);
        assert_eq!(of(9, 512), Some(InvalidGlob::TooLongTogether));
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
        let globs = ["deploy/*", r"a\*?", "a", "*"].map(glob).to_vec();
        let prefixes: Vec<_> = KeyPatterns::new(globs).unwrap().literal_prefixes().collect();
        assert_eq!(prefixes, ["deploy/", "a*", "a", ""]);
    }

    proptest! {
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
