//! What globs match.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

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
        ("**", ""),
        ("***a**", "ba"),
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
        assert!(glob(inner).lies_within(&glob(outer), &mut { usize::MAX }), "{inner} {outer}");
    }
    for (inner, outer) in
        [("*", "deploy/*"), ("a*", "a?"), ("deploy*", "deploy/*"), (r"a\*", r"a\\*"), ("?", "a")]
    {
        assert!(!glob(inner).lies_within(&glob(outer), &mut { usize::MAX }), "{inner} {outer}");
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
            let lies_within = inner.lies_within(&outer, &mut { usize::MAX });
            prop_assert!(!lies_within || !inner.matches(&text) || outer.matches(&text));
        }
    }
}
