//! Keeps known tokens in memory, with a bounded staleness.
//!
//! An answer of the database counts for `VALID_FOR` from the moment the question was sent. So no replica accepts a revoked
//! token 2 s after its revocation was answered. Tokens in use are asked for again before that, in the background.
//! Other tokens are looked up, those that come within a moment in one query. That a token is unknown is remembered for a
//! second.
//!
//! Tokens that were valid have lookups of their own, which no invented token delays. There the tenants take turns, and
//! nobody is refused. Elsewhere the addresses of clients do.

mod entries;
mod entry;
mod known;
mod loader;
mod lookups;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

pub use self::entry::TokenCheck;
use self::{
    entry::VALID_FOR,
    known::KnownTokens,
    loader::{QUERY_TIMEOUT, TokenLoader},
    lookups::{Answer, Lookups},
};
use super::{SecretHash, TokenId};
use crate::{domain::Tenant, store::TokenStore, tasks::spawn_critical};

/// The number of waiting lookups of tokens that are not remembered from which on clients with their share of them are
/// refused.
const MOST_UNKNOWN: usize = 4_096;

/// An answer that is read this long after its question began has to be checked again: its query may have begun before, and may have taken
/// as long as a query may. A connection is polled in its turns only, so an answer may lie there for seconds.
const READ_WITHIN: Duration = VALID_FOR.saturating_sub(QUERY_TIMEOUT);

/// The tokens that were used lately.
#[derive(Debug)]
pub struct TokenCache {
    known: Arc<KnownTokens>,
    /// Lookups of tokens that were valid when they were last looked up, by the tenants of their bearers. Their callers once had a
    /// valid token, so their number needs no limit of its own.
    remembered: Arc<Lookups<Option<Tenant>>>,
    /// The other lookups, by the addresses of clients.
    unknown: Arc<Lookups<Option<IpAddr>>>,
}

impl TokenCache {
    /// Starts the tasks that ask the database. They run until the runtime ends.
    pub fn start(store: Arc<dyn TokenStore>) -> Self {
        let known = Arc::new(KnownTokens::default());
        let remembered = Arc::new(Lookups::new(usize::MAX));
        let unknown = Arc::new(Lookups::new(MOST_UNKNOWN));
        let loader = TokenLoader { store, known: Arc::clone(&known) };
        spawn_critical(loader.clone().serve(Arc::clone(&remembered)));
        spawn_critical(loader.clone().serve(Arc::clone(&unknown)));
        spawn_critical(loader.refresh());
        Self { known, remembered, unknown }
    }

    /// Checks a secret without asking the database.
    pub fn check(&self, hash: &SecretHash) -> TokenCheck {
        self.known.check(hash)
    }

    /// Asks the database for the identity that a secret belongs to. `client` is the address that asks, as far as it is known,
    /// without what a client can choose itself.
    ///
    /// # Errors
    /// If the database does not answer in time; or if the token was not valid before, and too many lookups wait, of which the
    /// client has its share.
    pub async fn look_up(&self, hash: SecretHash, client: Option<IpAddr>) -> Answer {
        loop {
            let began = Instant::now();
            let answer = self.ask(hash, client).await;
            if !matches!(answer, Ok(Some(_))) || began.elapsed() <= READ_WITHIN {
                return answer;
            }
            match self.check(&hash) {
                TokenCheck::Known(identity) => return Ok(Some(identity)),
                TokenCheck::Unknown => return Ok(None),
                TokenCheck::LookUp => {}
            }
        }
    }

    async fn ask(&self, hash: SecretHash, client: Option<IpAddr>) -> Answer {
        match self.known.remembered(&hash) {
            Some(token) => self.remembered.look_up(&token.identity.tenant, hash).await,
            None => self.unknown.look_up(&client, hash).await,
        }
    }

    /// Forgets a token that was revoked here.
    pub fn forget(&self, id: TokenId) {
        self.known.forget(id);
    }
}
