//! Which tokens are known: from memory, with a bounded staleness.
//!
//! What the database said of a token counts for [`VALID`] from the moment the question was sent, so a revoked token is accepted
//! nowhere 2 s after its revocation was answered. Tokens in use are asked for again before that, in the background. Unknown ones
//! are looked up, all of [`GATHER`] in one query; that one is unknown is remembered for a second. Those that were valid are looked up
//! before others.

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{Identity, SecretHash, Token, TokenId};
use crate::{
    store::{StoreError, TokenStore},
    tasks::spawn_critical,
    unavailable::Unavailable,
};

/// For how long an answer of the database counts, from when it was asked.
const VALID: Duration = Duration::from_millis(1_800);
/// For how long an unknown token stays unknown.
const MISSING: Duration = Duration::from_secs(1);
/// The pause between two looks at what has to be asked for again, and how old that is.
const REFRESH_EVERY: Duration = Duration::from_millis(400);
const REFRESH_AT: Duration = Duration::from_millis(700);
/// A token that was not used for so long is not asked for again.
const IN_USE: Duration = Duration::from_secs(10);
/// For so long after its last use it is remembered that a token was valid. Whoever has it is looked up before the others then: those
/// may be made up, however many they are, and its heartbeats must not wait for them.
const REMEMBERED: Duration = Duration::from_hours(24);
/// The least time between two queries for unknown tokens.
const GATHER: Duration = Duration::from_millis(50);
/// How long a query may take.
const QUERY: Duration = Duration::from_millis(1_500);
/// The most tokens of one query.
const AT_ONCE: usize = 256;
/// The most lookups that wait.
const MOST_WAITING: usize = 4_096;
/// The most tokens in memory. Far more than are in use: it bounds what a flood of invented ones can take.
const MOST_KNOWN: usize = 50_000;
/// How often at most a token's last use is written.
const LAST_USE_EVERY: Duration = Duration::from_mins(1);

/// What is known of a token without asking.
#[derive(Debug)]
pub enum Checked {
    /// It is this identity's.
    Known(Arc<Identity>),
    /// There is no such token.
    Unknown,
    /// The database has to be asked: [`TokenCache::look_up`].
    Ask,
}

/// The tokens that were used lately.
#[derive(Debug)]
pub struct TokenCache {
    known: Arc<Known>,
    /// Of tokens that were valid when they were looked up last.
    lookups_of_valid: mpsc::Sender<Lookup>,
    lookups: mpsc::Sender<Lookup>,
}

struct Lookup {
    hash: SecretHash,
    answer: oneshot::Sender<Result<Option<Arc<Identity>>, Unavailable>>,
}

#[derive(Debug, Default)]
struct Known(Mutex<FxHashMap<SecretHash, Entry>>);

/// What the database said of a token.
#[derive(Debug)]
struct Entry {
    /// When it was asked.
    asked: Instant,
    /// When it was used last.
    used: Instant,
    token: Option<KnownToken>,
}

#[derive(Debug, Clone)]
struct KnownToken {
    id: TokenId,
    identity: Arc<Identity>,
    /// When it expires, at the latest.
    expires: Option<Instant>,
    /// When its last use was written last, as far as known.
    use_written: Option<Instant>,
}

impl Entry {
    fn check(&self, now: Instant) -> Checked {
        let age = now.saturating_duration_since(self.asked);
        match &self.token {
            Some(_) if age > VALID => Checked::Ask,
            Some(token) if token.expires.is_some_and(|end| now >= end) => Checked::Unknown,
            Some(token) => Checked::Known(Arc::clone(&token.identity)),
            None if age > MISSING => Checked::Ask,
            None => Checked::Unknown,
        }
    }
}

impl Known {
    fn entries(&self) -> MutexGuard<'_, FxHashMap<SecretHash, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, hash: &SecretHash) -> Checked {
        let now = Instant::now();
        match self.entries().get_mut(hash) {
            Some(entry) => {
                entry.used = now;
                entry.check(now)
            }
            None => Checked::Ask,
        }
    }

    /// Whether the database knew a token when it was asked last.
    fn was_valid(&self, hash: &SecretHash) -> bool {
        self.entries().get(hash).is_some_and(|entry| entry.token.is_some())
    }

    /// Notes what the database said of a token at `asked`.
    fn note(&self, hash: SecretHash, asked: Instant, token: Option<KnownToken>) {
        let mut entries = self.entries();
        let before = entries.get(&hash);
        let used = before.map_or(asked, |entry| entry.used);
        let written_before =
            before.and_then(|entry| entry.token.as_ref()).and_then(|token| token.use_written);
        let token =
            token.map(|token| KnownToken { use_written: token.use_written.max(written_before), ..token });
        if entries.len() >= MOST_KNOWN && !entries.contains_key(&hash) {
            // Invented ones go first.
            entries.retain(|_, entry| entry.token.is_some());
            if entries.len() >= MOST_KNOWN {
                entries.clear();
            }
        }
        entries.insert(hash, Entry { asked, used, token });
    }

    /// Forgets what nobody uses, and returns what has to be asked for again.
    fn due(&self) -> Vec<SecretHash> {
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|_, entry| {
            let kept = if entry.token.is_some() { REMEMBERED } else { MISSING };
            now.saturating_duration_since(entry.used.max(entry.asked)) <= kept
        });
        let due = |entry: &Entry| {
            let since = |at| now.saturating_duration_since(at);
            entry.token.is_some() && since(entry.asked) >= REFRESH_AT && since(entry.used) <= IN_USE
        };
        entries.iter().filter(|(_, entry)| due(entry)).map(|(hash, _)| *hash).collect()
    }

    /// The tokens whose last use is to be written. They count as written.
    fn used_since(&self) -> Vec<TokenId> {
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
}

impl TokenCache {
    /// Starts the task that asks the database. It runs until the runtime ends.
    pub fn start(store: Arc<dyn TokenStore>) -> Self {
        let known = Arc::new(Known::default());
        let (lookups_of_valid, first) = mpsc::channel(MOST_WAITING);
        let (lookups, others) = mpsc::channel(MOST_WAITING);
        spawn_critical(Asker { store: store.clone(), known: known.clone() }.answer(first, others));
        spawn_critical(Asker { store, known: known.clone() }.refresh());
        Self { known, lookups_of_valid, lookups }
    }

    /// What is known of a secret.
    pub fn check(&self, hash: &SecretHash) -> Checked {
        self.known.check(hash)
    }

    /// Asks the database whose secret it is.
    ///
    /// # Errors
    /// If the database does not answer in time, or too many ask.
    pub async fn look_up(&self, hash: SecretHash) -> Result<Option<Arc<Identity>>, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let lookups = if self.known.was_valid(&hash) { &self.lookups_of_valid } else { &self.lookups };
        lookups.try_send(Lookup { hash, answer }).map_err(|_| Unavailable::Overloaded)?;
        // The task ends only with the process.
        answered.await.unwrap_or(Err(Unavailable::ShuttingDown))
    }

    /// Forgets a token that was revoked here.
    pub fn forget(&self, id: TokenId) {
        self.known.entries().retain(|_, entry| entry.token.as_ref().is_none_or(|token| token.id != id));
    }
}

/// Asks the database.
struct Asker {
    store: Arc<dyn TokenStore>,
    known: Arc<Known>,
}

impl Asker {
    /// Answers lookups, all that come within a moment at once: those in `first` before `others`.
    async fn answer(self, mut first: mpsc::Receiver<Lookup>, mut others: mpsc::Receiver<Lookup>) {
        let mut next_query = Instant::now();
        loop {
            let lookup = tokio::select! {
                biased;
                lookup = first.recv() => lookup,
                lookup = others.recv() => lookup,
            };
            let Some(lookup) = lookup else { return };
            sleep_until(next_query).await;
            next_query = Instant::now() + GATHER;
            let mut lookups = vec![lookup];
            while lookups.len() < AT_ONCE
                && let Ok(lookup) = first.try_recv().or_else(|_| others.try_recv())
            {
                lookups.push(lookup);
            }
            // Nobody waits any more for some of them.
            lookups.retain(|lookup| !lookup.answer.is_closed());
            let mut hashes: Vec<_> = lookups.iter().map(|lookup| lookup.hash).collect();
            hashes.sort_unstable_by_key(|hash| *hash.as_bytes());
            hashes.dedup();
            let asked = self.ask(&hashes).await;
            for Lookup { hash, answer } in lookups {
                let found = asked.as_ref().map(|found| found.get(&hash).cloned());
                // Whoever asked may have gone.
                let _ = answer.send(found.map_err(|reason| *reason));
            }
        }
    }

    /// Asks again for the tokens in use, and writes that they were used.
    async fn refresh(self) {
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            for hashes in self.known.due().chunks(AT_ONCE) {
                // What failed is asked for by whoever uses it next.
                if self.ask(hashes).await.is_err() {
                    break;
                }
            }
            for ids in self.known.used_since().chunks(AT_ONCE) {
                if let Err(error) = self.store.note_use(ids).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the use of tokens could not be noted"
                    );
                }
            }
        }
    }

    /// Asks for these, and remembers the answers. Returns those that are valid.
    async fn ask(&self, hashes: &[SecretHash]) -> Result<FxHashMap<SecretHash, Arc<Identity>>, Unavailable> {
        let mut valid = FxHashMap::default();
        if hashes.is_empty() {
            return Ok(valid);
        }
        let asked = Instant::now();
        let found = timeout(QUERY, self.store.find_tokens(hashes)).await;
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

/// What is to be known of a token that the database had at `asked`, when its clock showed `now_ms`.
fn known(token: &Token, now_ms: i64, asked: Instant) -> KnownToken {
    let since = |at_ms: i64| {
        u64::try_from(now_ms.saturating_sub(at_ms)).map(Duration::from_millis).unwrap_or_default()
    };
    let until = |at_ms: i64| {
        u64::try_from(at_ms.saturating_sub(now_ms)).map(Duration::from_millis).unwrap_or_default()
    };
    KnownToken {
        id: token.id,
        identity: Arc::new(token.identity()),
        // Beyond the clock's range is as good as never.
        expires: token.expires_at.and_then(|end| asked.checked_add(until(end.0))),
        use_written: token.last_used_at.and_then(|at| asked.checked_sub(since(at.0))),
    }
}
