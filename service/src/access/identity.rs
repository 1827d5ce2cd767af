//! The caller of a request.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{KeyPatterns, Role};
use crate::domain::{Credential, Key, Owner, Tenant, Timestamp};

/// The caller, as authentication identified it, and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The caller's name in audit records: `token:NAME`, `jwt:ISSUER_NAME:SUB` or `certificate:SUBJECT`.
    pub who: Arc<str>,
    /// Distinguishes the caller's grants from those of others.
    pub credential: Credential,
    /// The only tenant that the caller may act for; `None`: all.
    pub tenant: Option<Tenant>,
    /// The caller's role.
    pub role: Role,
    /// The keys that the caller may use; `None`: all.
    pub keys: Option<KeyPatterns>,
    /// The owner of the caller's grants if a request names none.
    pub owner: Option<Owner>,
    /// When the credential expires; `None`: never.
    pub expires_at: Option<Timestamp>,
}

impl Identity {
    /// Whether the caller may act for a tenant.
    pub fn may_act_for(&self, tenant: &str) -> bool {
        self.tenant.as_ref().is_none_or(|own| own.as_str() == tenant)
    }

    /// Whether the caller may use a key.
    pub fn may_use(&self, key: &Key) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.matches(key.as_str()))
    }

    /// Whether the caller is shown the version of a grant that was given to `credential`.
    pub fn sees_version_of(&self, credential: Option<Credential>) -> bool {
        match self.role {
            Role::Read => false,
            Role::Write => credential == Some(self.credential),
            Role::Admin => true,
        }
    }
}

/// The credential of the caller that this text identifies. Credentials are stored with grants, so this can never
/// change.
pub fn credential(name: &str) -> Credential {
    let mut bytes = [0; 12];
    bytes.copy_from_slice(&Sha256::digest(name.as_bytes())[..12]);
    Credential::of_bytes(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    /// Credentials are stored: another result would take a grant from its holder.
    #[test]
    fn the_credential_of_a_name_stays_what_it_was() {
        assert_eq!(credential("abc"), Credential::new("ungWv48Bz-pBQUDe").unwrap());
    }
}
