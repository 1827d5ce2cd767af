//! The tokens in memory: those in use, and those that were valid lately.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    entries::Entries,
    entry::{Entry, KnownToken, TokenCheck, UNKNOWN_FOR},
};
use crate::access::{SecretHash, TokenId};

/// The age at which an answer is asked for again, while its token is in use.
const REFRESH_AT: Duration = Duration::from_millis(700);
/// How long after its last use a token is in use.
const IN_USE_FOR: Duration = Duration::from_secs(10);
/// How long after its last use the cache remembers that a token was valid. Such a token has lookups apart from others: those may
/// be invented, in any number, and the heartbeats of its bearer must not wait for them.
const REMEMBERED_FOR: Duration = Duration::from_hours(24);
/// The least time between two writes of a token's last use.
const LAST_USE_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct KnownTokens(Mutex<Entries>);

impl KnownTokens {
    fn entries(&self) -> MutexGuard<'_, Entries> {
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

    /// The token that the database had when it was last asked for this hash.
    pub(super) fn remembered(&self, hash: &SecretHash) -> Option<KnownToken> {
        self.entries().get(hash)?.token.clone()
    }

    /// Records that the database had a token when it was asked at `asked`, or that it had none.
    pub(super) fn learn(&self, hash: SecretHash, asked: Instant, token: Option<KnownToken>) {
        let mut entries = self.entries();
        let used = entries.get(&hash).map_or(asked, |entry| entry.used);
        entries.insert(hash, Entry { asked, used, token });
    }

    /// Records that the database still had a remembered token when it was asked at `asked`, or no longer. A token that was forgotten
    /// meanwhile stays forgotten: it may have been revoked here.
    pub(super) fn renew(&self, hash: SecretHash, asked: Instant, token: Option<KnownToken>) {
        let mut entries = self.entries();
        if let Some(before) = entries.get(&hash)
            && let Some(token_before) = &before.token
        {
            let written = token_before.use_written;
            let token = token.map(|mut token| {
                token.use_written = token.use_written.max(written);
                token
            });
            let entry = Entry { asked: asked.max(before.asked), used: before.used, token };
            entries.insert(hash, entry);
        }
    }

    /// Forgets tokens that nobody uses, and returns those that have to be asked for again.
    pub(super) fn due(&self) -> Vec<SecretHash> {
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|entry| {
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
        let mut ids = Vec::new();
        for (used, token) in self.entries().tokens_mut() {
            if token.use_written.is_none_or(|written| used > written && now - written >= LAST_USE_EVERY) {
                token.use_written = Some(now);
                ids.push(token.id);
            }
        }
        ids
    }

    /// Forgets a token.
    pub(super) fn forget(&self, id: TokenId) {
        self.entries().retain(|entry| entry.token.as_ref().is_none_or(|token| token.id != id));
    }

    /// The memory of the remembered tokens.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.entries().bytes()
    }
}
