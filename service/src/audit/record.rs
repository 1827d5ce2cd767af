//! A record of the audit log.

use super::Origin;
use crate::domain::{Key, Kind, Owner, Tenant, Timestamp, Token, Version};

/// The event that a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEvent {
    /// A lock or permit was granted.
    Granted,
    /// The holder gave back its grant, or the answer with the grant reached nobody.
    Released,
    /// The lease of a grant ended, and nobody had released it.
    Expired,
    /// A lock or permit was held by others for the whole wait.
    Refused,
    /// An operator ended a grant by force.
    Forced,
    /// A lock or semaphore was deleted.
    Deleted,
    /// A semaphore was resized.
    Resized,
    /// A token was created.
    TokenCreated,
    /// A token was revoked.
    TokenRevoked,
    /// Credentials were missing, unknown, expired or revoked.
    AuthenticationFailed,
}

impl AuditEvent {
    /// The name of the event in the trail.
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

    /// Whether the event changed something. Clients cause other events as often as they like.
    pub(super) const fn is_change(self) -> bool {
        !matches!(self, Self::Refused | Self::AuthenticationFailed)
    }
}

/// A record. Its line leaves out what does not apply.
#[derive(Debug, Clone)]
pub struct AuditRecord<'a> {
    /// The time of the event, by the database's clock.
    pub time: Timestamp,
    /// The event.
    pub event: AuditEvent,
    /// The request that caused the event; `None` for events that only time causes.
    pub origin: Option<&'a Origin>,
    /// The tenant of the key.
    pub tenant: Option<&'a Tenant>,
    /// Whether the record is about a lock or about a semaphore.
    pub kind: Option<Kind>,
    /// The key.
    pub key: Option<&'a Key>,
    /// The owner of the grant, or the owner in the refused request.
    pub owner: Option<&'a Owner>,
    /// The version of the grant. Only its first 8 characters are written: whoever knows the whole version may release
    /// the grant.
    pub version: Option<Version>,
    /// The fencing token of the grant.
    pub fencing_token: Option<Token>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The reason for the event.
    pub reason: Option<&'a str>,
    /// The number of refusals of the tenant that were not recorded since its last recorded one.
    pub left_out: Option<u64>,
}

impl AuditRecord<'_> {
    /// A record with nothing but time and event.
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
            left_out: None,
        }
    }
}
