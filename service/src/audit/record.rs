//! One record.

use super::Origin;
use crate::domain::{Key, Kind, Owner, Tenant, Timestamp, Token, Version};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEvent {
    /// A lock or permit was granted.
    Granted,
    /// Its holder gave it back, or its answer reached nobody.
    Released,
    /// Its lease ended, and nobody had released it.
    Expired,
    /// It was held by others for the whole wait.
    Refused,
    /// An operator ended it.
    Forced,
    /// A lock or semaphore was deleted.
    Deleted,
    /// A semaphore was resized.
    Resized,
    /// A token was made.
    TokenCreated,
    /// A token was revoked.
    TokenRevoked,
    /// Credentials were missing, unknown, expired or revoked.
    AuthenticationFailed,
}

impl AuditEvent {
    /// Its name in the trail.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Forced => "forced",
            Self::Deleted => "deleted",
            Self::Resized => "resized",
            Self::TokenCreated => "token_created",
            Self::TokenRevoked => "token_revoked",
            Self::AuthenticationFailed => "authentication_failed",
        }
    }
}

/// One record. What does not apply is left out of its line.
#[derive(Debug, Clone)]
pub struct AuditRecord<'a> {
    /// When, by the database's clock.
    pub time: Timestamp,
    /// What happened.
    pub event: AuditEvent,
    /// The request that brought it; `None` for what time brought.
    pub origin: Option<&'a Origin>,
    /// Whose key it is.
    pub tenant: Option<&'a Tenant>,
    /// Whether it is about a lock or about a semaphore.
    pub kind: Option<Kind>,
    /// The key.
    pub key: Option<&'a Key>,
    /// The owner of the grant, or who asked for it.
    pub owner: Option<&'a Owner>,
    /// The version of the grant. Only its first 8 characters are written: whoever knows all of it may release the grant.
    pub version: Option<Version>,
    /// The fencing token of the grant.
    pub fencing_token: Option<Token>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why.
    pub reason: Option<&'a str>,
}

impl AuditRecord<'_> {
    /// A record of which only time and event are known.
    pub const fn new(time: Timestamp, event: AuditEvent) -> Self {
        Self {
            time,
            event,
            origin: None,
            tenant: None,
            kind: None,
            key: None,
            owner: None,
            version: None,
            fencing_token: None,
            status: None,
            reason: None,
        }
    }
}
