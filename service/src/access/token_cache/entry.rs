//! The database's answer about a token, and how long it is valid.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    access::{Identity, KeyPatterns, TokenId},
    domain::{Tenant, Timestamp},
    store::{FoundToken, TokenTimes},
};

/// How long an answer of the database is valid, from when the question was sent.
pub(super) const VALID_FOR: Duration = Duration::from_millis(1_600);
/// How long an unknown token stays unknown.
pub(super) const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// At least the memory of a token without key patterns.
const ENTRY_BYTES: usize = 1 << 10;

/// The result of checking a token without asking the database.
#[derive(Debug)]
pub enum TokenCheck {
    /// The token of this identity.
    Known(Arc<Identity>),
    /// There is no such token.
    Unknown,
    /// The database has to be asked: [`TokenCache::look_up`](super::TokenCache::look_up).
    LookUp,
}

/// The database's last answer about a token.
#[derive(Debug)]
pub(super) struct Entry {
    /// When the database was asked.
    pub(super) asked: Instant,
    /// When the token was last used.
    pub(super) used: Instant,
    pub(super) token: Option<KnownToken>,
}

impl Entry {
    /// Checks the token at `now`.
    pub(super) fn check(&self, now: Instant) -> TokenCheck {
        let age = now.saturating_duration_since(self.asked);
        match &self.token {
            Some(_) if age > VALID_FOR => TokenCheck::LookUp,
            Some(token) if token.is_expired(now) => TokenCheck::Unknown,
            Some(token) => TokenCheck::Known(Arc::clone(&token.identity)),
            None if age > UNKNOWN_FOR => TokenCheck::LookUp,
            None => TokenCheck::Unknown,
        }
    }

    /// The memory that the entry takes, roughly. An unknown token counts nothing: it is remembered for a second, and the number
    /// of lookups in a second is limited.
    pub(super) fn bytes(&self) -> usize {
        let Some(token) = &self.token else { return 0 };
        ENTRY_BYTES + token.identity.keys.as_ref().map_or(0, KeyPatterns::bytes)
    }
}

/// A token that the database had when it was asked last.
#[derive(Debug, Clone)]
pub(super) struct KnownToken {
    pub(super) id: TokenId,
    pub(super) identity: Arc<Identity>,
    /// When the token expires, at the latest.
    expires: Option<Instant>,
    /// When the token's last use was last written, as far as known.
    pub(super) use_written: Option<Instant>,
}

impl KnownToken {
    /// A token that was found when the database was asked at `asked`.
    pub(super) fn found(found: &FoundToken, asked: Instant) -> Self {
        let token = Self {
            id: found.token.id,
            identity: Arc::new(found.token.identity()),
            expires: None,
            use_written: None,
        };
        token.with_times(found.token.expires_at, found.token.last_used_at, found.now, asked)
    }

    /// The same token, which was still there when the database was asked at `asked`.
    pub(super) fn renewed(self, times: &TokenTimes, asked: Instant) -> Self {
        self.with_times(times.expires_at, times.last_used_at, times.now, asked)
    }

    /// Sets the times that the database had when its clock showed `now`.
    fn with_times(
        self,
        expires_at: Option<Timestamp>,
        last_used_at: Option<Timestamp>,
        now: Timestamp,
        asked: Instant,
    ) -> Self {
        let between = |from: i64, to: i64| {
            u64::try_from(to.saturating_sub(from)).map(Duration::from_millis).unwrap_or_default()
        };
        // A time beyond the clock's range is as good as never.
        let expires = expires_at.and_then(|end| asked.checked_add(between(now.0, end.0)));
        let written = last_used_at.and_then(|at| asked.checked_sub(between(at.0, now.0)));
        Self { expires, use_written: written, ..self }
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// The tenant of the token's bearer; `None` for all tenants.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        self.identity.tenant.as_ref()
    }
}
