//! The errors of a request, collected while it is read.

use db_locks_service::access::Role;

use crate::{
    auth::Caller,
    problem::{FieldError, Problem},
};

/// The most errors in an answer.
pub(super) const MOST_ERRORS: usize = 32;
/// The longest member name in an answer, since it is the caller's text.
const MOST_NAME_CHARS: usize = 100;

/// The errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    found: Vec<FieldError>,
    needed: Option<Role>,
}

impl Errors {
    /// Notes an error.
    pub(crate) fn add(&mut self, field: &str, reason: impl Into<String>) {
        if self.found.len() < MOST_ERRORS {
            let field = field.chars().take(MOST_NAME_CHARS).collect();
            self.found.push(FieldError { field, reason: reason.into() });
        }
    }

    /// Returns the value, or the errors if there are any.
    pub(crate) fn check<T>(self, read: Option<T>) -> Result<T, Problem> {
        match read {
            Some(read) if self.found.is_empty() => Ok(read),
            _ => Err(Problem::invalid(self.found)),
        }
    }

    /// Notes that the request needs this role.
    pub(super) fn need(&mut self, role: Role) {
        self.needed = Some(role);
    }

    /// The same as [`Self::check`] for a request with a body, which may need a higher role than its route. A missing role (403) goes before invalid
    /// fields (400).
    pub(super) fn check_for<T>(self, read: Option<T>, caller: &Caller) -> Result<T, Problem> {
        if let Some(role) = self.needed {
            caller.check_role(role)?;
        }
        self.check(read)
    }
}

#[cfg(test)]
impl Errors {
    /// The errors as pairs, for tests.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.found.iter().map(|error| (error.field.as_str(), error.reason.as_str())).collect()
    }
}
