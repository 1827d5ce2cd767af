//! What is wrong with a request, collected while it is read.

use crate::problem::{FieldError, Problem};

/// More than this many errors of one request are not told: nobody reads them.
pub(super) const MOST_ERRORS: usize = 32;
/// A member's name is the caller's text, and may be long.
const MOST_NAME_CHARS: usize = 100;

/// The errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<FieldError>);

impl Errors {
    /// Notes an error.
    pub(crate) fn add(&mut self, field: &str, reason: impl Into<String>) {
        if self.0.len() < MOST_ERRORS {
            let field = field.chars().take(MOST_NAME_CHARS).collect();
            self.0.push(FieldError { field, reason: reason.into() });
        }
    }

    /// Takes what was read, unless something was wrong.
    pub(crate) fn check<T>(self, read: Option<T>) -> Result<T, Problem> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(Problem::invalid(self.0)),
        }
    }
}

#[cfg(test)]
impl Errors {
    /// The errors as pairs, for tests.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|error| (error.field.as_str(), error.reason.as_str())).collect()
    }
}
