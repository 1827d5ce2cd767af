//! Bearer tokens as the database keeps them.

use std::sync::Arc;

use uuid::Uuid;

use super::{Identity, KeyPatterns, Role, credential};
use crate::domain::{Tenant, Timestamp};

/// The id of a token. Ids grow with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub Uuid);

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The id of the token.
    pub id: TokenId,
    /// The name of the token.
    pub name: String,
    /// The rights of the token's bearer.
    pub scope: Scope,
    /// When the token was created.
    pub created_at: Timestamp,
    /// The time from which the token is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// When the token was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// The identity of the token's bearer.
    pub fn identity(&self) -> Identity {
        Identity {
            who: Arc::from(format!("token:{}", self.name)),
            credential: credential(&format!("token:{}", self.id.0)),
            tenant: self.scope.tenant.clone(),
            role: self.scope.role,
            keys: self.scope.keys.clone(),
            owner: None,
            expires_at: self.expires_at,
        }
    }
}

/// The rights that a token gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The only tenant; `None`: all.
    pub tenant: Option<Tenant>,
    /// The role.
    pub role: Role,
    /// The keys; `None`: all.
    pub keys: Option<KeyPatterns>,
}

impl Scope {
    /// Whether an administrator may create, see and revoke a token with these rights.
    pub fn lies_within(&self, admin: &Identity) -> bool {
        let tenant = admin.tenant.is_none() || admin.tenant == self.tenant;
        let keys = match (&admin.keys, &self.keys) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(own)) => own.lie_within(outer),
        };
        admin.role == Role::Admin && tenant && keys
    }
}
