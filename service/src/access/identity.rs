//! Who asks.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{KeyPatterns, Role};
use crate::domain::{Credential, Key, Owner, Tenant};

/// Who asks, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As the audit records name it: `token:NAME`, `jwt:ISSUER_NAME:SUB` or `certificate:SUBJECT`.
    pub who: Arc<str>,
    /// What tells its grants from those of others.
    pub credential: Credential,
    /// The only tenant that it may act for; `None`: all.
    pub tenant: Option<Tenant>,
    /// What it may do.
    pub role: Role,
    /// The keys that it may use; `None`: all.
    pub keys: Option<KeyPatterns>,
    /// The owner of its grants where a request names none.
    pub owner: Option<Owner>,
}

impl Identity {
    /// Whether it may act for a tenant.
    pub fn may_act_for(&self, tenant: &str) -> bool {
        self.tenant.as_ref().is_none_or(|own| own.as_str() == tenant)
    }

    /// Whether it may use a key.
    pub fn may_use(&self, key: &Key) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.matches(key.as_str()))
    }

    /// Whether it is shown the version of a grant that was given to `credential`.
    pub fn sees_version_of(&self, credential: Option<Credential>) -> bool {
        match self.role {
            Role::Read => false,
            Role::Write => credential == Some(self.credential),
            Role::Admin => true,
        }
    }
}

/// The credential of whoever is unmistakably named by this text. It is stored with grants: it can never change.
pub fn credential(name: &str) -> Credential {
    let mut bytes = [0; 12];
    bytes.copy_from_slice(&Sha256::digest(name.as_bytes())[..12]);
    Credential::of_bytes(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    /// It is stored: another one would take a grant from its holder.
    #[test]
    fn the_credential_of_a_name_stays_what_it_was() {
        assert_eq!(credential("abc"), Credential::new("ungWv48Bz-pBQUDe").unwrap());
    }
}
