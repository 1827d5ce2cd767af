//! The database's answers about tokens, and how long they are valid.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::{
    access::{Identity, SecretHash, Token, TokenId},
    domain::Tenant,
};

/// How long an answer of the database is valid, from when the question was sent.
const VALID_FOR: Duration = Duration::from_millis(1_800);
/// How long an unknown token stays unknown.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// The age at which an answer is asked for again, while its token is in use.
const REFRESH_AT: Duration = Duration::from_millis(700);
/// How long after its last use a token is in use.
const IN_USE_FOR: Duration = Duration::from_secs(10);
/// How long after its last use the cache remembers that a token was valid. Such a token is looked up before the others:
/// those may be invented, in any number, and the heartbeats of its bearer must not wait for them.
const REMEMBERED_FOR: Duration = Duration::from_hours(24);
/// The most tokens in memory, far more than are in use. It limits the memory that a flood of invented tokens can take.
const MOST_KNOWN: usize = 50_000;
/// The least time between two writes of a token's last use.
const LAST_USE_EVERY: Duration = Duration::from_mins(1);

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

#[derive(Debug, Default)]
pub(super) struct KnownTokens(Mutex<FxHashMap<SecretHash, Entry>>);

/// The database's last answer about a token.
#[derive(Debug)]
struct Entry {
    /// When the database was asked.
    asked: Instant,
    /// When the token was last used.
    used: Instant,
    token: Option<KnownToken>,
}

#[derive(Debug, Clone)]
pub(super) struct KnownToken {
    id: TokenId,
    pub(super) identity: Arc<Identity>,
    /// When the token expires, at the latest.
    pub(super) expires: Option<Instant>,
    /// When the token's last use was last written, as far as known.
    use_written: Option<Instant>,
}

impl Entry {
    fn check(&self, now: Instant) -> TokenCheck {
        let age = now.saturating_duration_since(self.asked);
        match &self.token {
            Some(_) if age > VALID_FOR => TokenCheck::LookUp,
            Some(token) if token.expires.is_some_and(|end| now >= end) => TokenCheck::Unknown,
            Some(token) => TokenCheck::Known(Arc::clone(&token.identity)),
            None if age > UNKNOWN_FOR => TokenCheck::LookUp,
            None => TokenCheck::Unknown,
        }
    }
}

impl KnownTokens {
    fn entries(&self) -> MutexGuard<'_, FxHashMap<SecretHash, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check(&self, hash: &SecretHash) -> TokenCheck {
        let now = Instant::now();
        match self.entries().get_mut(hash) {
            Some(entry) => {
                entry.used = now;
                entry.check(now)
            }
            None => TokenCheck::LookUp,
        }
    }

    /// The tenant of the token's bearer, which is `None` for all tenants; or `None` if the database knew no such token when
    /// it was last asked.
    #[expect(clippy::option_option, reason = "a tenant, all tenants, and no token are three things")]
    pub(super) fn bearers_tenant(&self, hash: &SecretHash) -> Option<Option<Tenant>> {
        let entries = self.entries();
        let token = entries.get(hash)?.token.as_ref()?;
        Some(token.identity.tenant.clone())
    }

    /// Records the database's answer to a question that was sent at `asked`.
    pub(super) fn note(&self, hash: SecretHash, asked: Instant, token: Option<KnownToken>) {
        let mut entries = self.entries();
        let before = entries.get(&hash);
        let used = before.map_or(asked, |entry| entry.used);
        let written_before =
            before.and_then(|entry| entry.token.as_ref()).and_then(|token| token.use_written);
        let token =
            token.map(|token| KnownToken { use_written: token.use_written.max(written_before), ..token });
        if entries.len() >= MOST_KNOWN && !entries.contains_key(&hash) {
            // Invented tokens go first.
            entries.retain(|_, entry| entry.token.is_some());
            if entries.len() >= MOST_KNOWN {
                entries.clear();
            }
        }
        entries.insert(hash, Entry { asked, used, token });
    }

    /// Forgets tokens that nobody uses, and returns those that have to be asked for again.
    pub(super) fn due(&self) -> Vec<SecretHash> {
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|_, entry| {
            let kept = if entry.token.is_some() { REMEMBERED_FOR } else { UNKNOWN_FOR };
            now.saturating_duration_since(entry.used.max(entry.asked)) <= kept
        });
        let due = |entry: &Entry| {
            let since = |at| now.saturating_duration_since(at);
            entry.token.is_some() && since(entry.asked) >= REFRESH_AT && since(entry.used) <= IN_USE_FOR
        };
        entries.iter().filter(|(_, entry)| due(entry)).map(|(hash, _)| *hash).collect()
    }

    /// The tokens whose last use has to be written. They count as written from now on.
    pub(super) fn used_since(&self) -> Vec<TokenId> {
        let now = Instant::now();
        let mut entries = self.entries();
        let mut ids = Vec::new();
        for entry in entries.values_mut() {
            let used = entry.used;
            let Some(token) = &mut entry.token else { continue };
            if token.use_written.is_none_or(|written| used > written && now - written >= LAST_USE_EVERY) {
                token.use_written = Some(now);
                ids.push(token.id);
            }
        }
        ids
    }

    /// Forgets a token.
    pub(super) fn forget(&self, id: TokenId) {
        self.entries().retain(|_, entry| entry.token.as_ref().is_none_or(|token| token.id != id));
    }
}

/// The cached form of a token that the database had at `asked`, when the database's clock showed `now_ms`.
pub(super) fn known(token: &Token, now_ms: i64, asked: Instant) -> KnownToken {
    let since = |at_ms: i64| {
        u64::try_from(now_ms.saturating_sub(at_ms)).map(Duration::from_millis).unwrap_or_default()
    };
    let until = |at_ms: i64| {
        u64::try_from(at_ms.saturating_sub(now_ms)).map(Duration::from_millis).unwrap_or_default()
    };
    KnownToken {
        id: token.id,
        identity: Arc::new(token.identity()),
        // A time beyond the clock's range is as good as never.
        expires: token.expires_at.and_then(|end| asked.checked_add(until(end.0))),
        use_written: token.last_used_at.and_then(|at| asked.checked_sub(since(at.0))),
    }
}
