//! Names and texts from callers: keys, tenants, owners, data. They are built only from valid input and cheap to clone.

use std::{fmt, sync::Arc};

use crate::base64url::digits_of;

/// The reason why a name was refused. The text is shown to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty where at least one character is needed.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The maximum number of characters (Unicode scalar values).
        max: usize,
    },
    /// More bytes than allowed.
    #[error("must have at most {max_bytes} bytes of UTF-8")]
    TooManyBytes {
        /// The maximum number of bytes.
        max_bytes: usize,
    },
    /// A control character (Unicode category Cc) in a key.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// U+0000, which PostgreSQL cannot store as text.
    #[error("must not contain U+0000")]
    Nul,
    /// `.` or `..`, which clients and proxies resolve as path segments.
    #[error("must not be '.' or '..'")]
    DotSegment,
    /// A character outside `[A-Za-z0-9._-]` in a tenant.
    #[error("must consist of the characters A-Z, a-z, 0-9, '.', '_' and '-'")]
    TenantCharacter,
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes text that was validated before it was stored. Only the store may use this.
            pub(crate) fn trusted(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_type! {
    /// The name of a lock or semaphore: 1 to 255 characters, no control characters, not `.` or `..`.
    Key
}
text_type! {
    /// The name of a tenant: 1 to 64 characters of `[A-Za-z0-9._-]`. Tenants never see each other's keys.
    Tenant
}
text_type! {
    /// Text stored with a lock: up to 32 KiB of UTF-8 without U+0000. Never logged.
    Data
}
text_type! {
    /// The reason why an operator ended a grant by force, as shown to its former holder: up to 1,000 characters without
    /// U+0000.
    Reason
}

/// The maximum number of characters of a key or an owner.
const MAX_NAME_CHARS: usize = 255;
/// The maximum number of characters (and bytes) of a tenant.
const MAX_TENANT_CHARS: usize = 64;
/// The maximum number of characters of a reason.
pub const MAX_REASON_CHARS: usize = 1_000;
/// The maximum number of bytes of data.
const MAX_DATA_BYTES: usize = 32 * 1024;

/// The separator between an owner's name and its credential in the stored text. A name may contain this character, too.
const CREDENTIAL_MARK: char = '\u{1F}';

/// A short form of the credential that a grant was given to: 96 bits of a digest as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential([u8; 16]);

impl Credential {
    /// Makes a credential of 16 letters, digits, `-` and `_`.
    pub fn new(text: &str) -> Option<Self> {
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        text.as_bytes()
            .try_into()
            .ok()
            .filter(|bytes: &[u8; 16]| bytes.iter().copied().all(is_usual))
            .map(Self)
    }

    /// Makes a credential of 96 bits, in base64.
    pub fn of_bytes(bytes: [u8; 12]) -> Self {
        let mut credential = [0; 16];
        for (digits, group) in credential.as_chunks_mut().0.iter_mut().zip(bytes.as_chunks().0) {
            *digits = digits_of(*group);
        }
        Self(credential)
    }
}

/// The owner of a grant: a name of 1 to 255 characters without U+0000, and the credential of the caller if
/// authentication is on. The same name with another credential is another owner.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The name, then [`CREDENTIAL_MARK`] and the credential. A name that contains the mark is always stored with one
    /// at its end.
    stored: Arc<str>,
    /// The number of bytes of the name.
    shown: usize,
}

impl Owner {
    /// The name, as it is shown to others.
    pub fn as_str(&self) -> &str {
        &self.stored[..self.shown]
    }

    /// The name and the credential in one text, as the store keeps them.
    pub(crate) fn stored(&self) -> &str {
        &self.stored
    }

    /// The lower and the upper bound of the stored texts of this name with a credential.
    pub(crate) fn stored_with_credentials(&self) -> (String, String) {
        let after = char::from(CREDENTIAL_MARK as u8 + 1);
        (format!("{}{CREDENTIAL_MARK}", self.as_str()), format!("{}{after}", self.as_str()))
    }

    /// The credential, if there is one.
    pub fn credential(&self) -> Option<Credential> {
        self.stored.get(self.shown + CREDENTIAL_MARK.len_utf8()..).and_then(Credential::new)
    }

    /// The same name with another credential.
    #[must_use]
    pub fn with_credential(&self, credential: Credential) -> Self {
        let credential = String::from_utf8_lossy(&credential.0);
        let stored = format!("{}{CREDENTIAL_MARK}{credential}", self.as_str());
        Self { stored: stored.into(), shown: self.shown }
    }

    /// Takes text that was validated before it was stored. Only the store may use this.
    pub(crate) fn trusted(stored: &str) -> Self {
        let name = stored.rsplit_once(CREDENTIAL_MARK).filter(|(name, credential)| {
            !name.is_empty() && (credential.is_empty() || Credential::new(credential).is_some())
        });
        Self { stored: Arc::from(stored), shown: name.map_or(stored.len(), |(name, _)| name.len()) }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    check_at_most(text, max)
}

fn check_at_most(text: &str, max: usize) -> Result<(), NameError> {
    // A character has at least one byte, so most names need not be counted.
    if text.len() > max && text.chars().count() > max {
        return Err(NameError::TooLong { max });
    }
    Ok(())
}

impl Key {
    /// Validates a key.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_length(text, MAX_NAME_CHARS)?;
        if text == "." || text == ".." {
            return Err(NameError::DotSegment);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::ControlCharacter);
        }
        Ok(Self::trusted(text))
    }
}

impl Tenant {
    /// Validates a tenant.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_length(text, MAX_TENANT_CHARS)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !text.bytes().all(allowed) {
            return Err(NameError::TenantCharacter);
        }
        Ok(Self::trusted(text))
    }
}

impl Owner {
    /// Validates an owner.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_length(text, MAX_NAME_CHARS)?;
        if text.contains('\0') {
            return Err(NameError::Nul);
        }
        if text.contains(CREDENTIAL_MARK) {
            return Ok(Self { stored: format!("{text}{CREDENTIAL_MARK}").into(), shown: text.len() });
        }
        Ok(Self { stored: Arc::from(text), shown: text.len() })
    }
}

impl Data {
    /// Validates data. The empty text is data, too.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_DATA_BYTES {
            return Err(NameError::TooManyBytes { max_bytes: MAX_DATA_BYTES });
        }
        if text.contains('\0') {
            return Err(NameError::Nul);
        }
        Ok(Self::trusted(text))
    }
}

impl Reason {
    /// Validates a reason.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_at_most(text, MAX_REASON_CHARS)?;
        if text.contains('\0') {
            return Err(NameError::Nul);
        }
        Ok(Self::trusted(text))
    }
}

/// A key within its tenant, which identifies a row, a queue and a shard. Ordered as the database orders its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    /// The tenant.
    pub tenant: Tenant,
    /// The key.
    pub key: Key,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const CREDENTIAL: &str = "abcdefghijklm-_9";

    #[test]
    fn an_owner_is_stored_with_its_credential_and_shown_without() {
        let credential = Credential::new(CREDENTIAL).unwrap();
        for name in ["a", "a\u{1F}", "\u{1F}", "a\u{1F}abcdefghijklm-_8", &"é".repeat(255)] {
            let plain = Owner::new(name).unwrap();
            let with = plain.with_credential(credential);
            for owner in [&plain, &with] {
                let loaded = Owner::trusted(owner.stored());
                assert_eq!((loaded.as_str(), &loaded), (name, owner));
            }
            assert_eq!((plain.credential(), with.credential()), (None, Some(credential)));
            assert_ne!(plain, with);
            assert!(with.stored().chars().count() <= 300, "the width of the column");
        }
    }
}
