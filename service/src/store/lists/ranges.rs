//! The ranges of keys that a list searches.

use crate::{access::KeyPatterns, domain::Key, store::KeyFilter};

/// A range of keys, which are those with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    /// The keys of the range are this text or come after it.
    pub(super) begin: String,
    /// The keys of the range come before this text, if there is any.
    pub(super) end: Option<String>,
}

impl KeyRange {
    fn of_prefix(prefix: String) -> Self {
        let end = first_after_prefix(&prefix);
        Self { begin: prefix, end }
    }

    /// Whether the range has no key after this one.
    fn ends_before(&self, after: &Key) -> bool {
        self.end.as_ref().is_some_and(|end| end.as_str() <= after.as_str())
    }
}

/// The ranges that have all keys of a filter after a key, in order. They do not overlap.
pub(super) fn ranges(filter: &KeyFilter, after: Option<&Key>) -> Vec<KeyRange> {
    let wanted = filter.prefix.as_deref().unwrap_or_default();
    let mut prefixes = match &filter.patterns {
        None => vec![wanted.to_owned()],
        Some(patterns) => prefixes_within(patterns, wanted),
    };
    prefixes.sort_unstable();
    // A prefix comes before all texts that begin with it.
    prefixes.dedup_by(|text, prefix| text.starts_with(&**prefix));
    let mut ranges: Vec<_> = prefixes.into_iter().map(KeyRange::of_prefix).collect();
    if let Some(after) = after {
        ranges.retain(|range| !range.ends_before(after));
    }
    ranges
}

/// The prefixes of all keys that patterns match and that begin with `wanted`.
fn prefixes_within(patterns: &KeyPatterns, wanted: &str) -> Vec<String> {
    let within = |own: String| {
        if own.starts_with(wanted) { Some(own) } else { wanted.starts_with(&own).then(|| wanted.to_owned()) }
    };
    patterns.literal_prefixes().filter_map(within).collect()
}

/// The first text in byte order after all texts that start with the prefix; `None` if there is none. UTF-8 sorts by
/// code point, so the last character is replaced by the next one. Surrogates are skipped, since they are no characters.
fn first_after_prefix(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_text_in_byte_order() {
        assert_eq!(first_after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(first_after_prefix("a%").as_deref(), Some("a&"));
        assert_eq!(first_after_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(first_after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(first_after_prefix("\u{10FFFF}"), None);
        assert_eq!(first_after_prefix(""), None);
    }

    /// The beginnings of the ranges of a filter.
    fn begins(prefix: Option<&str>, patterns: &[&str], after: Option<&str>) -> Vec<String> {
        let globs = patterns.iter().map(|glob| glob.parse().unwrap()).collect();
        let patterns = (!patterns.is_empty()).then(|| KeyPatterns::new(globs).unwrap());
        let filter = KeyFilter { prefix: prefix.map(str::to_owned), patterns };
        let after = after.map(|key| Key::new(key).unwrap());
        ranges(&filter, after.as_ref()).into_iter().map(|range| range.begin).collect()
    }

    #[test]
    fn keys_between_the_patterns_are_not_searched() {
        assert_eq!(begins(None, &[], None), [""]);
        assert_eq!(begins(Some("a"), &[], None), ["a"]);
        assert_eq!(begins(None, &["z/*", "a/?x", "a/*"], None), ["a/", "z/"]);
        assert_eq!(begins(None, &["z/*", "*/x"], None), [""]);
        assert_eq!(begins(Some("a/b"), &["z/*", "a/*", "a/bc*", "a/c"], None), ["a/b"]);
        assert_eq!(begins(Some("a"), &["ab*", "b*", "ac"], None), ["ab", "ac"]);
        assert!(begins(Some("x"), &["a*", "b*"], None).is_empty());
    }

    #[test]
    fn ranges_before_the_cursor_are_left_out() {
        assert_eq!(begins(None, &["a/*", "m/*", "z/*"], Some("m/5")), ["m/", "z/"]);
        assert_eq!(begins(None, &["a/*", "m/*", "z/*"], Some("n")), ["z/"]);
        assert_eq!(begins(None, &["a/*", "m/*", "z/*"], Some("0")), ["a/", "m/", "z/"]);
        assert!(begins(Some("a"), &[], Some("b")).is_empty());
    }
}
