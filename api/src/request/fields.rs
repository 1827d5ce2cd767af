//! Typed reads of a body's fields. They collect errors and go on, so that one answer names all of them.

use std::borrow::Cow;

use db_locks_service::access::Role;

use super::{
    errors::{Errors, MOST_ERRORS},
    members::{Member, Members, Text},
    nearest::{NameKind, unknown_names},
};

/// Numbers beyond 2^53 are not exact in every JSON reader; no field needs them.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

const TOO_MANY_MEMBERS: &str = "must have at most 100 members";

/// The fields of a body that is being read.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    members: Members<'a>,
    errors: &'a mut Errors,
    /// The names of the fields that were read, if they are recorded.
    asked: Option<Vec<String>>,
}

impl<'a> Fields<'a> {
    /// Reads a body into fields. An empty body has none. A body that is not an object is an error.
    pub(crate) fn parse(body: &'a [u8], errors: &'a mut Errors) -> Self {
        let members = if body.is_empty() { Members::default() } else { parse(body, errors) };
        if members.are_more {
            errors.add("body", TOO_MANY_MEMBERS);
        }
        Self { members, errors, asked: None }
    }

    /// The names of all fields that `read` reads.
    ///
    /// It reads the same fields of each body, so an empty one shows them.
    pub(super) fn known_to(read: impl FnOnce(&mut Fields<'_>)) -> Vec<String> {
        let mut errors = Errors::default();
        let mut fields = Fields { asked: Some(Vec::new()), ..Fields::parse(&[], &mut errors) };
        read(&mut fields);
        fields.asked.unwrap_or_default()
    }

    /// Notes an error.
    pub(crate) fn error(&mut self, field: &str, reason: impl Into<String>) {
        self.errors.add(field, reason);
    }

    /// Notes that the request needs this role.
    pub(crate) fn need(&mut self, role: Role) {
        self.errors.need(role);
    }

    /// Reads a boolean field. Default: false.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.given_flag(name).unwrap_or(false)
    }

    /// Reads an optional boolean field.
    pub(crate) fn given_flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            "false" => Some(false),
            "true" => Some(true),
            other => {
                self.error(name, format!("must be true or false, not {}", describe(other)));
                None
            }
        }
    }

    /// Reads an optional integer field from `least` to `most`.
    pub(crate) fn integer(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let text = self.take(name)?;
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            self.error(name, format!("must be an integer, not {}", describe(text)));
            return None;
        }
        match whole_number(text) {
            ParsedInteger::Number(number) if (least..=most).contains(&number) => Some(number),
            ParsedInteger::Number(_) | ParsedInteger::TooLarge => {
                self.error(name, format!("must be between {least} and {most}"));
                None
            }
            ParsedInteger::Fraction => {
                self.error(name, "must be an integer, not a fraction");
                None
            }
        }
    }

    /// Reads a required field by `read`. If that returns nothing, the field is missing or its error is noted already.
    pub(crate) fn required<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.is_given(name) {
            read(self)
        } else {
            self.take(name);
            self.error(name, "is required");
            None
        }
    }

    /// Whether a field is present and not null.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.members.all.iter().any(|member| member.name == name && member.value != "null")
    }

    /// Notes all unknown members as errors. `names` is called only if there are any.
    pub(super) fn finish(self, known: impl FnOnce() -> Vec<String>) {
        let mut unknown = self.members.all.iter().filter(|member| !member.known).peekable();
        if unknown.peek().is_none() {
            return;
        }
        let known = known();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let names = unknown.take(MOST_ERRORS).map(|member| &*member.name);
        for (name, reason) in unknown_names(NameKind::Field, names, &known) {
            self.errors.add(name, reason);
        }
    }

    /// Reads an optional string field.
    pub(super) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let text = self.take(name)?;
        if !text.starts_with('"') {
            self.error(name, format!("must be a string, not {}", describe(text)));
            return None;
        }
        let read = serde_json::from_str(text).map(|Text(text)| text);
        read.map_err(|_| self.error(name, "must be valid Unicode: a surrogate stands alone")).ok()
    }

    /// The JSON text of a field's value; `None` if it is absent or null.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        if let Some(asked) = &mut self.asked {
            asked.push(name.to_owned());
        }
        let mut first: Option<&'a str> = None;
        let mut duplicate = false;
        for Member { value, known, .. } in self.members.all.iter_mut().filter(|member| member.name == name) {
            *known = true;
            duplicate |= first.is_some();
            first = first.or(Some(*value));
        }
        if duplicate {
            self.error(name, "is given more than once");
            return None;
        }
        first.filter(|value| *value != "null")
    }
}

fn parse<'a>(body: &'a [u8], errors: &mut Errors) -> Members<'a> {
    let Ok(text) = std::str::from_utf8(body) else {
        errors.add("body", "is not valid UTF-8");
        return Members::default();
    };
    serde_json::from_str(text).unwrap_or_else(|error: serde_json::Error| {
        let reason = if error.is_data() {
            "must be one JSON object".to_owned()
        } else {
            format!("is not valid JSON: {error}")
        };
        errors.add("body", reason);
        Members::default()
    })
}

/// The type of a JSON value, for error messages.
fn describe(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

/// A JSON number, read as an integer.
enum ParsedInteger {
    Number(i64),
    Fraction,
    TooLarge,
}

/// Reads a JSON number. `1.0` and `1e3` are integers: JSON has only numbers, and JSON Schema, by which the document describes
/// the fields, goes by the value.
fn whole_number(text: &str) -> ParsedInteger {
    if let Ok(number) = text.parse::<i64>() {
        return ParsedInteger::Number(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number.fract() != 0.0 => ParsedInteger::Fraction,
        #[expect(clippy::cast_possible_truncation, reason = "it is a whole number below 2^53")]
        Ok(number) if number.abs() <= LARGEST_EXACT => ParsedInteger::Number(number as i64),
        _ => ParsedInteger::TooLarge,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
pub(super) mod tests;
