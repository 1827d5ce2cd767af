//! Secrets of tokens: random, and stored in the database only as their SHA-256.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::base64url::base64url;

/// The beginning of a token's secret. Tools that search for leaked secrets recognise it.
const PREFIX: &str = "dbl_";
/// The number of random bytes in a secret.
const RANDOM: usize = 32;

/// The secret of a new token. It is shown once, and never stored.
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The length of every secret, in bytes: each 3 random bytes are 4 characters, without padding.
    pub const LENGTH: usize = PREFIX.len() + (RANDOM * 4).div_ceil(3);

    /// Makes a secret of 256 random bits.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; RANDOM];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", base64url(&bytes))))
    }

    /// The text, to be shown only to the creator of the token.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The SHA-256 of a secret. Compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of a secret as it was sent.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads stored bytes; `None` if their length is wrong.
    pub(crate) fn stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for SecretHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_different_and_not_shown_by_accident() {
        let [one, other] = [0, 1].map(|_| Secret::random().unwrap());
        assert_eq!((one.reveal().len(), Secret::LENGTH), (47, 47));
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(format!("{one:?}"), "Secret");
        assert_ne!(SecretHash::of(one.reveal().as_bytes()), SecretHash::of(other.reveal().as_bytes()));
    }
}
