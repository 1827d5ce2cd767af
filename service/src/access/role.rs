//! Roles of identities.

use std::{fmt, str::FromStr};

/// The rights of an identity. Each role has the rights of the roles before it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May read, but sees no version.
    Read,
    /// May acquire, renew and release grants, and create and delete keys.
    Write,
    /// May end grants of others by force, and create tokens.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The name of the role.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error for a name that is not a role's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be read, write or admin")]
pub struct InvalidRole;

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(name: &str) -> Result<Self, InvalidRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or(InvalidRole)
    }
}
