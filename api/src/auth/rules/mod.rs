//! The rules that make identities of claims and certificates.

mod file;
mod matching;

pub(super) use self::file::{Issuer, KeySource};
pub use self::file::{Rules, RulesError};
