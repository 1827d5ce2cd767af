//! Fields with a meaning of their own: a lease, an owner, a version and the like.

use std::{fmt::Display, str::FromStr};

use db_locks_service::{
    access::{Glob, InvalidGlob, KeyPatterns, MAX_GLOBS},
    domain::{Data, Owner, Reason, Tenant, Timestamp, Version},
    parse_rfc3339,
};
use uuid::{
    Uuid,
    fmt::{Hyphenated, Simple},
};

use super::{Defaults, fields::Fields, members::Text};

/// The largest number of permits of a semaphore.
pub(super) const MAX_SEMAPHORE_SIZE: i64 = 1_000_000;

/// Why a version is refused.
pub(super) const NOT_A_UUID: &str =
    "must be a UUID: 32 hexadecimal digits, with the usual hyphens or without";

impl Fields<'_> {
    /// The lease of a grant, in milliseconds.
    pub(crate) fn lease(&mut self, defaults: &Defaults) -> Option<i64> {
        self.integer("lease_duration_ms", 1, defaults.limits.max_lease_ms)
    }

    /// The number of permits of a semaphore.
    pub(crate) fn semaphore_size(&mut self) -> Option<i32> {
        self.integer("max_size", 1, MAX_SEMAPHORE_SIZE).and_then(|size| i32::try_from(size).ok())
    }

    /// A field with an owner.
    pub(crate) fn owner(&mut self, name: &str) -> Option<Owner> {
        self.validated(name, Owner::new)
    }

    /// A field with data.
    pub(crate) fn data(&mut self, name: &str) -> Option<Data> {
        self.validated(name, Data::new)
    }

    /// A field with the reason of a forced release.
    pub(crate) fn reason(&mut self, name: &str) -> Option<Reason> {
        self.validated(name, Reason::new)
    }

    /// A field with a tenant.
    pub(crate) fn tenant(&mut self, name: &str) -> Option<Tenant> {
        self.validated(name, Tenant::new)
    }

    /// A field with a text that has a meaning of its own.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.validated(name, str::parse)
    }

    /// A field with globs that keys must match.
    pub(crate) fn key_patterns(&mut self, name: &str) -> Option<KeyPatterns> {
        let text = self.take(name)?;
        let Ok(globs) = serde_json::from_str::<Vec<Text<'_>>>(text) else {
            self.error(name, "must be an array of strings");
            return None;
        };
        // Of a list that is too long the rest does not matter.
        let globs = globs.iter().take(MAX_GLOBS + 1);
        let globs: Result<Vec<Glob>, InvalidGlob> = globs.map(|Text(glob)| glob.parse()).collect();
        globs.and_then(KeyPatterns::new).map_err(|error| self.error(name, error.to_string())).ok()
    }

    /// A field with a point of time.
    pub(crate) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let time = parse_rfc3339(&text);
        if time.is_none() {
            self.error(name, "must be a time in RFC 3339, such as 2027-01-31T12:00:00Z");
        }
        time
    }

    /// A field with a version.
    pub(crate) fn version(&mut self, name: &str) -> Option<Version> {
        let text = self.text(name)?;
        let parsed = parse_version(&text);
        if parsed.is_none() {
            self.error(name, NOT_A_UUID);
        }
        parsed
    }

    fn validated<T, E: Display>(&mut self, name: &str, make: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        make(&text).map_err(|error| self.error(name, error.to_string())).ok()
    }
}

/// A version: with hyphens or without, but not in braces, nor as a URN.
pub(super) fn parse_version(text: &str) -> Option<Version> {
    let is_plain = matches!(text.len(), Simple::LENGTH | Hyphenated::LENGTH);
    is_plain.then(|| Uuid::try_parse(text).ok()).flatten().map(Version)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::request::fields::tests::with;

    #[test]
    fn versions_are_taken_with_hyphens_or_without() {
        for form in ["0199A3C0-5F0E-4C1D-9A57-3F1F6A1C7D42", "0199a3c05f0e4c1d9a573f1f6a1c7d42"] {
            let (version, _) =
                with(&format!(r#"{{"version":"{form}"}}"#), |fields| fields.version("version"));
            assert_eq!(version.unwrap().to_string(), "0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42");
        }
        for other in [
            "1",
            "{0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42}",
            "{0199a3c05f0e4c1d9a573f1f6a1c7d42}",
            "urn:uuid:0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42",
            "0199a3c05-f0e-4c1d-9a57-3f1f6a1c7d42",
            " 0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d4",
        ] {
            let (_, errors) =
                with(&format!(r#"{{"version":"{other}"}}"#), |fields| fields.version("version"));
            assert_eq!(errors.pairs(), [("version", NOT_A_UUID)], "{other}");
        }
        let (_, errors) = with(r#"{"version":null}"#, |fields| {
            fields.required("version", |fields| fields.version("version"))
        });
        assert_eq!(errors.pairs(), [("version", "is required")]);
    }

    /// Each pattern takes memory of its own.
    #[test]
    fn of_too_many_patterns_not_all_are_read() {
        let last = |number| {
            let body = format!(r#"{{"keys":[{}"\\"]}}"#, r#""a","#.repeat(number));
            let (_, errors) = with(&body, |fields| fields.key_patterns("keys"));
            errors.pairs()[0].1.to_owned()
        };
        assert_eq!(last(MAX_GLOBS), InvalidGlob::LoneBackslash.to_string());
        assert_eq!(last(MAX_GLOBS + 1), InvalidGlob::TooMany.to_string());
    }
}
