//! Suggests the probable name for an unknown one.

/// The lowest similarity (Jaro-Winkler, 0 to 1) of a misspelt name.
const MIN_SIMILARITY: f64 = 0.8;

/// The longest name that is compared. No known name is nearly as long.
const LONGEST_COMPARED: usize = 64;

/// The kind of a name, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum NameKind {
    Field,
    Parameter,
}

impl NameKind {
    const fn singular(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Parameter => "query parameter",
        }
    }
}

/// The error text for an unknown name: with the nearest known name, or with all known names.
pub(super) fn unknown_name(named: NameKind, name: &str, known: &[&str]) -> String {
    let what = named.singular();
    let refused = format!("is not a {what} of this request");
    match (nearest(name, known), known) {
        (Some(meant), _) => format!("{refused}; did you mean {meant}?"),
        (None, []) => format!("{refused}; it has none"),
        (None, known) => format!("{refused}; it has {}", known.join(", ")),
    }
}

/// The known name that is most similar to `name`, if one is: misspelt, in another case, or shortened by whole words
/// (`lease_ms` for `lease_duration_ms`).
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > LONGEST_COMPARED {
        return None;
    }
    let words = words_of(name);
    let alike = known.iter().filter_map(|known| {
        let known_words = words_of(known);
        let similarity = strsim::jaro_winkler(&words.concat(), &known_words.concat());
        let shortened = !words.is_empty() && words.iter().all(|word| known_words.contains(word));
        (shortened || similarity >= MIN_SIMILARITY).then_some((similarity, *known))
    });
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

/// The words of `snake_case`, `kebab-case` and `camelCase`, in lower case.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    let mut after_lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() {
            begins = true;
            continue;
        }
        if begins || (after_lower && letter.is_uppercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
        begins = false;
        after_lower = letter.is_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 6] = [
        "owner",
        "lease_duration_ms",
        "wait_ms",
        "data",
        "uses_semaphore",
        "additional_time_to_wait_for_lock_ms",
    ];

    #[test]
    fn misspelt_and_shortened_names_are_recognised() {
        for (name, meant) in [
            ("onwer", "owner"),
            ("Owner", "owner"),
            ("lease_ms", "lease_duration_ms"),
            ("lease", "lease_duration_ms"),
            ("leaseDurationMs", "lease_duration_ms"),
            ("lease-duration-ms", "lease_duration_ms"),
            ("duration_ms", "lease_duration_ms"),
            ("wait", "wait_ms"),
            ("waitMs", "wait_ms"),
            ("wait_timeout_ms", "wait_ms"),
            ("use_semaphore", "uses_semaphore"),
            ("additional_time_ms", "additional_time_to_wait_for_lock_ms"),
        ] {
            assert_eq!(nearest(name, &FIELDS), Some(meant), "{name}");
        }
    }

    #[test]
    fn a_name_like_no_other_is_answered_with_all() {
        for name in ["ttl", "x", "", "_", "holder", &"owner".repeat(100)] {
            assert_eq!(nearest(name, &FIELDS), None, "{name}");
        }
        let reason = unknown_name(NameKind::Field, "ttl", &["owner", "data"]);
        assert_eq!(reason, "is not a field of this request; it has owner, data");
        let reason = unknown_name(NameKind::Parameter, "x", &[]);
        assert_eq!(reason, "is not a query parameter of this request; it has none");
    }
}
