//! Typed reads of query parameters, which collect errors like the fields of a body.

use std::borrow::Cow;

use db_locks_service::{
    Limits,
    domain::{Key, NameError, Owner, Version},
};

use super::{
    Cursor,
    errors::{Errors, MOST_ERRORS},
    escape::decode,
    named_fields::{NOT_A_UUID, parse_version},
    nearest::{NameKind, unknown_names},
};

/// The default number of items of a page.
pub(crate) const DEFAULT_LIMIT: u32 = 100;
/// The largest number of items of a page.
pub(crate) const MAX_LIMIT: u32 = 1_000;

/// The most parameters of a query. Each one of a request is looked for among all of them, and no request has nearly as many.
const MOST_PARAMETERS: usize = 100;
const TOO_MANY_PARAMETERS: &str = "must have at most 100 parameters";

/// The parameters of a query that is being read.
#[derive(Debug)]
pub(crate) struct QueryParams<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    errors: &'a mut Errors,
    /// The names of the parameters that were read.
    known: Vec<&'static str>,
}

impl<'a> QueryParams<'a> {
    /// Splits a query. A malformed escape is an error of its parameter.
    pub(super) fn parse(query: Option<&'a str>, errors: &'a mut Errors) -> Self {
        let mut pairs = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == MOST_PARAMETERS {
                errors.add("query", TOO_MANY_PARAMETERS);
                break;
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name, true).unwrap_or_else(|reason| {
                errors.add(name, reason);
                Cow::Borrowed(name)
            });
            let value = decode(value, true).unwrap_or_else(|reason| {
                errors.add(&name, reason);
                Cow::Borrowed("")
            });
            pairs.push((name, value));
        }
        Self { pairs, errors, known: Vec::new() }
    }

    /// Reads the number of items of a page.
    pub(crate) fn limit(&mut self) -> u32 {
        let Some(text) = self.take("limit") else { return DEFAULT_LIMIT };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.unwrap_or_else(|| {
            self.errors.add("limit", format!("must be an integer between 1 and {MAX_LIMIT}"));
            DEFAULT_LIMIT
        })
    }

    /// Reads the lease of a grant, in milliseconds.
    pub(crate) fn lease(&mut self, limits: &Limits) -> Option<i64> {
        let text = self.take("lease_duration_ms")?;
        let most = limits.max_lease_ms;
        let lease_ms = text.parse().ok().filter(|lease_ms| (1..=most).contains(lease_ms));
        if lease_ms.is_none() {
            self.errors.add("lease_duration_ms", format!("must be an integer between 1 and {most}"));
        }
        lease_ms
    }

    /// Reads the cursor: where the previous page ended.
    pub(crate) fn cursor<C: Cursor>(&mut self) -> Option<C> {
        let text = self.take("cursor")?;
        let cursor = C::read(&text);
        if cursor.is_none() {
            self.errors.add("cursor", "must be the next_cursor of an earlier page");
        }
        cursor
    }

    /// Reads the prefix of keys. An empty prefix counts as absent.
    pub(crate) fn prefix(&mut self) -> Option<String> {
        let text = self.take("prefix")?;
        match Key::new(&text) {
            // A prefix that is not a valid key can be the beginning of one.
            Ok(_) | Err(NameError::DotSegment) => Some(text.into_owned()),
            Err(NameError::Empty) => None,
            Err(error) => {
                self.errors.add("prefix", error.to_string());
                None
            }
        }
    }

    /// Reads an owner.
    pub(crate) fn owner(&mut self) -> Option<Owner> {
        let text = self.take("owner")?;
        Owner::new(&text).map_err(|error| self.errors.add("owner", error.to_string())).ok()
    }

    /// Reads a version.
    pub(crate) fn version(&mut self) -> Option<Version> {
        let text = self.take("version")?;
        let version = parse_version(&text);
        if version.is_none() {
            self.errors.add("version", NOT_A_UUID);
        }
        version
    }

    /// Reads an optional boolean parameter.
    pub(crate) fn flag(&mut self, name: &'static str) -> Option<bool> {
        match &*self.take(name)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.errors.add(name, "must be true or false");
                None
            }
        }
    }

    /// Notes all unknown parameters as errors.
    pub(super) fn finish(self) {
        let names = self.pairs.iter().take(MOST_ERRORS).map(|(name, _)| &**name);
        for (name, reason) in unknown_names(NameKind::Parameter, names, &self.known) {
            self.errors.add(name, reason);
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        self.known.push(name);
        let index = self.pairs.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.pairs.remove(index);
        let before = self.pairs.len();
        self.pairs.retain(|(given, _)| given != name);
        if self.pairs.len() < before {
            self.errors.add(name, "is given more than once");
            return None;
        }
        Some(value)
    }
}

#[cfg(test)]
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the path of a method is not general over its lifetime"
)]
mod tests {
    use super::*;

    fn with<T>(query: &str, read: impl FnOnce(&mut QueryParams<'_>) -> T) -> (T, Errors) {
        let mut errors = Errors::default();
        let mut params = QueryParams::parse(Some(query), &mut errors);
        let value = read(&mut params);
        params.finish();
        (value, errors)
    }

    #[test]
    fn parameters_are_decoded() {
        let (read, errors) = with("prefix=a%2Fb+c&locked=true&&limit=7", |params| {
            (params.prefix(), params.flag("locked"), params.limit())
        });
        assert_eq!(read, (Some("a/b c".to_owned()), Some(true), 7));
        assert!(errors.pairs().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for limit in ["0", "1001", "-1", "", "1.5", "x", "99999999999"] {
            let (value, errors) = with(&format!("limit={limit}"), |params| params.limit());
            assert_eq!(value, DEFAULT_LIMIT);
            assert_eq!(errors.pairs(), [("limit", "must be an integer between 1 and 1000")], "{limit}");
        }
        let (_, errors) = with("cursor=zz", |params| params.cursor::<Key>());
        assert_eq!(errors.pairs()[0].0, "cursor");
        let (_, errors) = with("locked=yes", |params| params.flag("locked"));
        assert_eq!(errors.pairs(), [("locked", "must be true or false")]);
        let (_, errors) = with("prefix=%00", |params| params.prefix());
        assert_eq!(errors.pairs(), [("prefix", "must not contain control characters")]);
        let (_, errors) = with("owner=%zz", |params| params.owner());
        assert_eq!(errors.pairs()[0].0, "owner");
    }

    #[test]
    fn further_parameters_are_not_read() {
        for (others, is_read) in [(MOST_PARAMETERS - 1, true), (MOST_PARAMETERS, false)] {
            let (limit, errors) = with(&format!("{}limit=7", "a&".repeat(others)), |params| params.limit());
            let is_refused = errors.pairs().contains(&("query", TOO_MANY_PARAMETERS));
            assert_eq!((limit == 7, is_refused), (is_read, !is_read), "{others}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let (_, errors) = with("limit=1&limit=2&Limit=1&x", |params| params.limit());
        assert_eq!(
            errors.pairs(),
            [
                ("limit", "is given more than once"),
                ("Limit", "is not a query parameter of this request; did you mean limit?"),
                ("x", "is not a query parameter of this request; it has limit"),
            ]
        );
    }
}
