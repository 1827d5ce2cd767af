//! Asks the database for tokens.

use std::{hash::Hash, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{entry::KnownToken, known::KnownTokens, lookups::Lookups};
use crate::{
    SeededMap,
    access::{Identity, SecretHash},
    store::{StoreError, TokenStore},
    unavailable::Unavailable,
};

/// The pause between two refreshes of the tokens in use.
const REFRESH_EVERY: Duration = Duration::from_millis(400);
/// The least time between two queries for lookups.
pub(super) const GATHER_FOR: Duration = Duration::from_millis(50);
/// How long a query may take.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_millis(1_300);
/// The most tokens in one query.
const MOST_PER_QUERY: usize = 256;

/// Loads tokens from the database.
#[derive(Clone)]
pub(super) struct TokenLoader {
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) known: Arc<KnownTokens>,
}

impl TokenLoader {
    /// Answers lookups. Those that come within a moment share a query.
    pub(super) async fn serve<P: Clone + Eq + Hash>(self, lookups: Arc<Lookups<P>>) {
        let mut next_query = Instant::now();
        loop {
            lookups.wait().await;
            sleep_until(next_query).await;
            next_query = Instant::now() + GATHER_FOR;
            let hashes = lookups.take(MOST_PER_QUERY);
            let loaded = self.load(&hashes).await;
            for hash in &hashes {
                let found = loaded.as_ref().map(|found| found.get(hash).cloned());
                lookups.answer(hash, &found.map_err(|reason| *reason));
            }
        }
    }

    /// Loads the tokens in use again, and writes that they were used.
    pub(super) async fn refresh(self) {
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

    /// Asks for the tokens with these hashes, and caches the answers. Returns the valid ones. Of a token that is remembered, only
    /// its times are read: its rights never change.
    async fn load(&self, hashes: &[SecretHash]) -> Result<SeededMap<SecretHash, Arc<Identity>>, Unavailable> {
        let remembered = hashes.iter().filter_map(|hash| Some((*hash, self.known.remembered(hash)?)));
        let mut remembered: SeededMap<_, _> = remembered.collect();
        let (old, new): (Vec<_>, Vec<_>) = hashes.iter().partition(|hash| remembered.contains_key(hash));
        let asked = Instant::now();
        let query = async { tokio::try_join!(self.store.token_times(&old), self.store.find_tokens(&new)) };
        let (times, found) = timeout(QUERY_TIMEOUT, query)
            .await
            .map_err(|_| Unavailable::DatabaseOutOfReach)?
            .map_err(|error: StoreError| {
                tracing::debug!(error = &error as &dyn std::error::Error, "tokens could not be looked up");
                Unavailable::from(&error)
            })?;
        let found = found.iter().map(|found| (found.hash, KnownToken::found(found, asked)));
        let mut tokens: SeededMap<_, _> = found.collect();
        for times in &times {
            if let Some(token) = remembered.remove(&times.hash) {
                tokens.insert(times.hash, token.renewed(times, asked));
            }
        }
        for hash in old {
            self.known.renew(hash, asked, tokens.get(&hash).cloned());
        }
        for hash in new {
            self.known.learn(hash, asked, tokens.get(&hash).cloned());
        }
        tokens.retain(|_, token| !token.is_expired(asked));
        Ok(tokens.into_iter().map(|(hash, token)| (hash, token.identity)).collect())
    }
}
