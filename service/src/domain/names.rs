//! What callers name: keys, tenants, owners, data. Built only from valid input, cheap to clone.

use std::{fmt, sync::Arc};

/// Why a name was refused. The text is shown to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty where at least one character is needed.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The most characters (Unicode scalar values) allowed.
        max: usize,
    },
    /// More bytes than allowed.
    #[error("must have at most {max_bytes} bytes of UTF-8")]
    TooManyBytes {
        /// The most bytes allowed.
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

            /// Takes text that was validated before it was stored; only the store may use it.
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
    /// Whose keys these are: 1 to 64 of `[A-Za-z0-9._-]`. Tenants never see each other's keys.
    Tenant
}
text_type! {
    /// Who holds a lock, as others are shown it: 1 to 255 characters without U+0000.
    Owner
}
text_type! {
    /// Text stored with a lock: up to 32 KiB of UTF-8 without U+0000. Never logged.
    Data
}
text_type! {
    /// Why an operator ended a grant by force, as its former holder is told it: up to 1,000 characters without U+0000.
    Reason
}

/// The most characters of a key or an owner.
const MAX_NAME_CHARS: usize = 255;
/// The most characters (and bytes) of a tenant.
const MAX_TENANT_CHARS: usize = 64;
/// The most characters of a reason.
pub const MAX_REASON_CHARS: usize = 1_000;
/// The most bytes of data.
const MAX_DATA_BYTES: usize = 32 * 1024;

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    check_at_most(text, max)
}

fn check_at_most(text: &str, max: usize) -> Result<(), NameError> {
    // A character has at least one byte: most names need not be counted.
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
        Ok(Self::trusted(text))
    }
}

impl Data {
    /// Validates data; the empty text is data too.
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

/// A key within its tenant: what a row, a queue and a shard are found by. Ordered as the database orders its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    /// Whose key it is.
    pub tenant: Tenant,
    /// The key.
    pub key: Key,
}
