//! Keeps known tokens in memory, with a bounded staleness.
//!
//! An answer of the database counts for `VALID_FOR` from the moment the question was sent. So no replica accepts a revoked
//! token 2 s after its revocation was answered. Tokens in use are asked for again before that, in the background.
//! Unknown tokens are looked up, all of [`GATHER_FOR`] in one query. That a token is unknown is remembered for a second.
//! Tokens that were valid are looked up before others.

mod known;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;

use std::{sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

pub use self::known::TokenCheck;
use self::known::{KnownTokens, known};
use super::{Identity, SecretHash, TokenId};
use crate::{
    store::{StoreError, TokenStore},
    tasks::spawn_critical,
    unavailable::Unavailable,
};

/// The pause between two refreshes of the tokens in use.
const REFRESH_EVERY: Duration = Duration::from_millis(400);
/// The least time between two queries for unknown tokens.
const GATHER_FOR: Duration = Duration::from_millis(50);
/// How long a query may take.
const QUERY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The most tokens in one query.
const MOST_PER_QUERY: usize = 256;
/// The most lookups that may wait.
const MOST_WAITING: usize = 4_096;

/// The tokens that were used lately.
#[derive(Debug)]
pub struct TokenCache {
    known: Arc<KnownTokens>,
    /// Lookups of tokens that were valid when they were last looked up.
    lookups_of_valid: mpsc::Sender<Lookup>,
    lookups: mpsc::Sender<Lookup>,
}

struct Lookup {
    hash: SecretHash,
    answer: oneshot::Sender<Result<Option<Arc<Identity>>, Unavailable>>,
}

impl TokenCache {
    /// Starts the tasks that ask the database. They run until the runtime ends.
    pub fn start(store: Arc<dyn TokenStore>) -> Self {
        let known = Arc::new(KnownTokens::default());
        let (lookups_of_valid, first) = mpsc::channel(MOST_WAITING);
        let (lookups, others) = mpsc::channel(MOST_WAITING);
        spawn_critical(
            TokenLoader { store: store.clone(), known: known.clone() }.serve_lookups(first, others),
        );
        spawn_critical(TokenLoader { store, known: known.clone() }.refresh());
        Self { known, lookups_of_valid, lookups }
    }

    /// Checks a secret without asking the database.
    pub fn check(&self, hash: &SecretHash) -> TokenCheck {
        self.known.check(hash)
    }

    /// Asks the database for the identity that a secret belongs to.
    ///
    /// # Errors
    /// If the database does not answer in time, or too many lookups wait.
    pub async fn look_up(&self, hash: SecretHash) -> Result<Option<Arc<Identity>>, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let lookups = if self.known.was_valid(&hash) { &self.lookups_of_valid } else { &self.lookups };
        lookups.try_send(Lookup { hash, answer }).map_err(|_| Unavailable::Overloaded)?;
        // The task ends only with the process.
        answered.await.unwrap_or(Err(Unavailable::ShuttingDown))
    }

    /// Forgets a token that was revoked here.
    pub fn forget(&self, id: TokenId) {
        self.known.forget(id);
    }
}

/// Loads tokens from the database.
struct TokenLoader {
    store: Arc<dyn TokenStore>,
    known: Arc<KnownTokens>,
}

impl TokenLoader {
    /// Answers lookups, those in `first` before `others`. Lookups that come within a moment share a query.
    async fn serve_lookups(self, mut first: mpsc::Receiver<Lookup>, mut others: mpsc::Receiver<Lookup>) {
        let mut next_query = Instant::now();
        loop {
            let lookup = tokio::select! {
                biased;
                lookup = first.recv() => lookup,
                lookup = others.recv() => lookup,
            };
            let Some(lookup) = lookup else { return };
            sleep_until(next_query).await;
            next_query = Instant::now() + GATHER_FOR;
            let mut lookups = vec![lookup];
            while lookups.len() < MOST_PER_QUERY
                && let Ok(lookup) = first.try_recv().or_else(|_| others.try_recv())
            {
                lookups.push(lookup);
            }
            // Lookups are left out if nobody waits for them any more.
            lookups.retain(|lookup| !lookup.answer.is_closed());
            let mut hashes: Vec<_> = lookups.iter().map(|lookup| lookup.hash).collect();
            hashes.sort_unstable_by_key(|hash| *hash.as_bytes());
            hashes.dedup();
            let loaded = self.load(&hashes).await;
            for Lookup { hash, answer } in lookups {
                let found = loaded.as_ref().map(|found| found.get(&hash).cloned());
                // The receiver is gone if the caller gave up waiting.
                let _ = answer.send(found.map_err(|reason| *reason));
            }
        }
    }

    /// Loads the tokens in use again, and writes that they were used.
    async fn refresh(self) {
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            for hashes in self.known.due().chunks(MOST_PER_QUERY) {
                // If this failed, the next use of the token loads it again.
                if self.load(hashes).await.is_err() {
                    break;
                }
            }
            for ids in self.known.used_since().chunks(MOST_PER_QUERY) {
                if let Err(error) = self.store.note_use(ids).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the last use of tokens could not be recorded"
                    );
                }
            }
        }
    }

    /// Loads the tokens with these hashes, and caches the answers. Returns the valid ones.
    async fn load(&self, hashes: &[SecretHash]) -> Result<FxHashMap<SecretHash, Arc<Identity>>, Unavailable> {
        let mut valid = FxHashMap::default();
        if hashes.is_empty() {
            return Ok(valid);
        }
        let asked = Instant::now();
        let found = timeout(QUERY_TIMEOUT, self.store.find_tokens(hashes)).await;
        let found = found.map_err(|_| Unavailable::DatabaseOutOfReach)?;
        let found = found.map_err(|error: StoreError| {
            tracing::debug!(error = &error as &dyn std::error::Error, "tokens could not be looked up");
            Unavailable::from(&error)
        })?;
        for hash in hashes {
            let token = found.iter().find(|found| found.hash == *hash);
            let token = token.map(|found| known(&found.token, found.now.0, asked));
            if let Some(token) = &token
                && token.expires.is_none_or(|end| end > asked)
            {
                valid.insert(*hash, Arc::clone(&token.identity));
            }
            self.known.note(*hash, asked, token);
        }
        Ok(valid)
    }
}
