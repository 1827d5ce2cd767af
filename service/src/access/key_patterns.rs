//! The globs of a credential.

use std::sync::Arc;

use super::glob::{Glob, InvalidGlob, MAX_GLOBS, MAX_PATTERN_CHARS};

/// The memory of a glob besides its text: the reference to the text, its counts, and what the allocator adds.
const GLOB_BYTES: usize = 48;

/// The most steps of a comparison of two credentials: some 2 ms. Without a bound it is the product of their characters.
const MOST_STEPS: usize = 500_000;

/// The globs of a credential, which may use the keys that one of them matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPatterns(Arc<[Glob]>);

impl KeyPatterns {
    /// Makes a list of globs: at least one, within the limits on their number and length.
    pub fn new(globs: Vec<Glob>) -> Result<Self, InvalidGlob> {
        match globs.len() {
            0 => Err(InvalidGlob::NoPattern),
            1..=MAX_GLOBS => {
                let chars: usize = globs.iter().map(|glob| glob.as_str().chars().count()).sum();
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

    /// The memory of the globs, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|glob| GLOB_BYTES + glob.as_str().len()).sum()
    }

    /// Whether one of the globs matches a key.
    pub fn matches(&self, key: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(key))
    }

    /// Whether each of these globs lies within one of `outer`, as far as a comparison of bounded length shows that.
    pub fn lie_within(&self, outer: &Self) -> bool {
        let mut steps = MOST_STEPS;
        self.0.iter().all(|own| outer.0.iter().any(|glob| own.lies_within(glob, &mut steps)))
    }

    /// For each glob, the text with which all keys begin that it matches.
    pub fn literal_prefixes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(Glob::literal_prefix)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_globs_has_limits() {
        assert_eq!(KeyPatterns::new(vec![]), Err(InvalidGlob::NoPattern));
        let of =
            |number, length: usize| KeyPatterns::new(vec!["a".repeat(length).parse().unwrap(); number]).err();
        assert_eq!([of(64, 64), of(65, 1), of(8, 513 - 1)], [None, Some(InvalidGlob::TooMany), None]);
        assert_eq!(of(9, 512), Some(InvalidGlob::TooLongTogether));
    }

    /// An administrator could otherwise keep a thread busy for 40 ms with each request for a token.
    #[test]
    fn a_comparison_that_takes_too_many_steps_shows_nothing() {
        let patterns = |texts: &[String]| {
            KeyPatterns::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
        };
        let hard = format!("{}{}b{}", "*".repeat(7), "a".repeat(255), "a".repeat(249));
        let outer = patterns(&[vec![hard; 7], vec!["a*".to_owned()]].concat());
        let own = |number| patterns(&vec!["a".repeat(512); number]);
        assert!(own(1).lie_within(&outer), "by the last of them");
        assert!(!own(7).lie_within(&outer), "the same, seven times");
        let many: Vec<_> = (0..64).map(|number| format!("{}/{number:02}/*", "team".repeat(14))).collect();
        assert!(patterns(&many).lie_within(&patterns(&many)), "what a team needs");
    }
}
