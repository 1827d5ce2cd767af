//! The rules that map claims and certificates to identities.

mod file;
mod matching;

pub(super) use self::file::{Issuer, KeySource};
pub use self::file::{Rules, RulesError};
