//! Suggests the probable name for an unknown one.

/// The lowest similarity (Jaro-Winkler, 0 to 1) of a misspelt name.
const MIN_SIMILARITY: f64 = 0.8;

/// The longest name that is compared. No known name is longer.
const LONGEST_COMPARED: usize = 40;

/// Names whose lengths differ by more than this factor are not compared letter by letter.
const LONGEST_FACTOR: usize = 3;

/// The number of unknown names of a request that are explained. A request may have many of them, and each is compared with all known ones.
const MOST_EXPLAINED: usize = 2;

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

/// The error texts for unknown names, in their order.
pub(super) fn unknown_names<'n>(
    kind: NameKind,
    names: impl IntoIterator<Item = &'n str>,
    known: &[&str],
) -> impl Iterator<Item = (&'n str, String)> {
    let refused = format!("is not a {} of this request", kind.singular());
    names.into_iter().enumerate().map(move |(index, name)| {
        let reason = if index < MOST_EXPLAINED { explain(&refused, name, known) } else { refused.clone() };
        (name, reason)
    })
}

/// The error text with the nearest known name, or with all known names.
fn explain(refused: &str, name: &str, known: &[&str]) -> String {
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
        let similarity = similarity(&words.concat(), &known_words.concat());
        let shortened = !words.is_empty() && words.iter().all(|word| known_words.contains(word));
        (shortened || similarity >= MIN_SIMILARITY).then_some((similarity, *known))
    });
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

/// The similarity of two names; 0 if their lengths say enough.
fn similarity(one: &str, other: &str) -> f64 {
    let (shorter, longer) = (one.len().min(other.len()), one.len().max(other.len()));
    if shorter * LONGEST_FACTOR < longer {
        return 0.0;
    }
    #[cfg(test)]
    tests::COMPARED.set(tests::COMPARED.get() + 1);
    strsim::jaro_winkler(one, other)
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
    use std::cell::Cell;

    use super::*;
    use crate::{
        grants::acquire::AcquireLock,
        request::{names_read, read_body},
    };

    thread_local! {
        /// The number of names that were compared letter by letter.
        pub(super) static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

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
        let reason =
            |named, known: &[&str]| unknown_names(named, ["ttl"], known).next().unwrap_or_default().1;
        let of_field = reason(NameKind::Field, &["owner", "data"]);
        assert_eq!(of_field, "is not a field of this request; it has owner, data");
        let of_parameter = reason(NameKind::Parameter, &[]);
        assert_eq!(of_parameter, "is not a query parameter of this request; it has none");
    }

    /// A small request could otherwise take many times as long as others.
    #[test]
    fn few_names_of_a_request_are_compared() {
        let name = |number: usize| [r#""unknown_duration_"#, &"x".repeat(number), r#"":0,"#].concat();
        let names: String = (1..=32).map(name).collect();
        let before = COMPARED.get();
        let read = read_body::<AcquireLock>(&format!(r#"{{{names}"owner":"a"}}"#));
        assert_eq!(read.err().map(|names| names.len()), Some(32));
        let most = MOST_EXPLAINED * names_read::<AcquireLock>().len();
        let compared = COMPARED.get() - before;
        assert!((1..=most).contains(&compared), "{compared} of {most}");
        similarity("own", "additional");
        assert_eq!(COMPARED.get() - before, compared, "their lengths say enough");
    }

    #[test]
    fn only_the_first_unknown_names_are_explained() {
        let names = ["onwer", "ttl", "owners"];
        let reasons: Vec<_> = unknown_names(NameKind::Field, names, &["owner"]).collect();
        let refused = "is not a field of this request";
        let expected = [
            format!("{refused}; did you mean owner?"),
            format!("{refused}; it has owner"),
            refused.to_owned(),
        ];
        assert_eq!(reasons, names.into_iter().zip(expected).collect::<Vec<_>>());
    }
}
