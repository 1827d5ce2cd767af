//! The public keys of an issuer, from a file or an https URL.

mod read;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use db_locks_service::{Unavailable, with_causes};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};

pub use self::read::KeysError;
use self::read::{Key, read_file};
use super::rules::KeySource;

/// The shortest time between two refreshes, also because of an unknown `kid`, which any client can make up.
const REFRESH_EVERY: Duration = Duration::from_secs(10);
/// The age at which keys from a URL are read again, while requests go on with them.
const REFRESH_AT: Duration = Duration::from_mins(10);
/// The age at which requests wait for keys to be read again, so that withdrawn keys disappear.
const MAX_AGE: Duration = Duration::from_mins(15);

/// The most keys with which a signature is compared. Without a `kid` each key of its algorithm fits, and a large one takes 0.4 ms.
const MOST_FITTING: usize = 4;

/// The keys of an issuer.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    source: KeySource,
    current: Arc<RwLock<Option<Arc<KeySet>>>>,
    /// When keys were last read, or could not be; `None` if never. Locked during a read.
    attempt: Arc<Mutex<Option<Instant>>>,
    /// Whether the last read failed.
    is_failing: Arc<AtomicBool>,
}

#[derive(Debug)]
struct KeySet {
    keys: Vec<Key>,
    /// When they were read.
    read: Instant,
}

/// The keys of an issuer that may have signed a token.
#[derive(Debug, Clone)]
pub(super) struct FittingKeys {
    /// `None` if none could be read yet.
    set: Option<Arc<KeySet>>,
    id: Option<String>,
    algorithm: Algorithm,
}

impl FittingKeys {
    pub(super) fn iter(&self) -> impl Iterator<Item = &DecodingKey> {
        let Self { set, id, algorithm } = self;
        let keys = || set.iter().flat_map(|set| &set.keys).filter(|key| key.algorithm == *algorithm);
        let named = keys().filter(|key| key.id.is_some() && key.id == *id);
        let others = keys().filter(|key| id.is_none() || key.id.is_none());
        named.chain(others).take(MOST_FITTING).map(|key| &key.decoding)
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn are_older_than(&self, age: Duration) -> bool {
        self.set.as_ref().is_none_or(|set| set.read.elapsed() >= age)
    }
}

impl Keys {
    /// Reads the keys of a file. The keys of a URL are read when the first one is needed, or were read for the rules `before`, whose keys
    /// also count if the file cannot be read now.
    ///
    /// # Errors
    /// If a file cannot be read, and was not read before.
    pub(super) fn new(source: &KeySource, before: &[Self]) -> Result<Self, KeysError> {
        let same = before.iter().find(|keys| keys.source == *source);
        let keys = match (source, same) {
            (KeySource::Url(_), Some(same)) => return Ok(same.clone()),
            (KeySource::Url(_), None) => None,
            (KeySource::File(path), _) => match (read_file(path), same) {
                (Ok(keys), None) if keys.is_empty() => {
                    return Err(KeysError::NoKey(path.display().to_string()));
                }
                (Ok(keys), _) => Some(keys),
                (Err(error), Some(same)) => {
                    let error = with_causes(&error);
                    tracing::error!(
                        error,
                        "the keys of an issuer cannot be read; those from before stay in force"
                    );
                    return Ok(same.clone());
                }
                (Err(error), None) => return Err(error),
            },
        };
        let now = Instant::now();
        let read = keys.as_ref().map(|_| now);
        let current = keys.map(|keys| Arc::new(KeySet { keys, read: now }));
        Ok(Self {
            source: source.clone(),
            current: Arc::new(RwLock::new(current)),
            attempt: Arc::new(Mutex::new(read)),
            is_failing: Arc::default(),
        })
    }

    /// The current keys; `None` if none could be read since the start.
    fn now(&self) -> Option<Arc<KeySet>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys that may have signed a token with this header. An unknown `kid` triggers a refresh, with a limit on the rate.
    ///
    /// # Errors
    /// If no keys of the issuer could be read since the start.
    pub(super) async fn find(
        &self,
        id: Option<String>,
        algorithm: Algorithm,
    ) -> Result<FittingKeys, Unavailable> {
        let mut found = FittingKeys { set: self.now(), id, algorithm };
        self.refresh(&mut found).await;
        if found.set.is_some() { Ok(found) } else { Err(Unavailable::KeysOfIssuer) }
    }

    /// Reads the keys again if none fits, or if they are old. A request whose key is known does not wait for that, unless the keys are
    /// outdated, and the issuer answered last time.
    async fn refresh(&self, found: &mut FittingKeys) {
        let is_url = matches!(self.source, KeySource::Url(_));
        let must_wait = |found: &FittingKeys| {
            let are_outdated = is_url && found.are_older_than(MAX_AGE);
            found.is_empty() || (are_outdated && !self.is_failing.load(Ordering::Relaxed))
        };
        let attempt = match Arc::clone(&self.attempt).try_lock_owned() {
            Ok(attempt) => attempt,
            Err(_) if !must_wait(found) => return,
            Err(_) => Arc::clone(&self.attempt).lock_owned().await,
        };
        // They may have been read meanwhile.
        self.update(found);
        let is_due = found.is_empty() || (is_url && found.are_older_than(REFRESH_AT));
        if !is_due || attempt.is_some_and(|attempt| attempt.elapsed() < REFRESH_EVERY) {
            return;
        }
        let waits = must_wait(found);
        // In a task of its own: otherwise clients that hang up could keep the keys from ever being read. If the task panics, the
        // next request that needs keys starts another one.
        let reading = tokio::spawn(self.clone().read(attempt));
        if waits {
            let _ = reading.await;
            self.update(found);
        }
    }

    /// Whether there are other keys than those that were tried, which have not signed the token: the issuer may have replaced a key under
    /// its name. They are read again for that, with the same limit on the rate.
    pub(super) async fn have_changed(&self, tried: &mut FittingKeys) -> bool {
        let before = tried.set.clone();
        let attempt = Arc::clone(&self.attempt).lock_owned().await;
        self.update(tried);
        if attempt.is_none_or(|attempt| attempt.elapsed() >= REFRESH_EVERY) {
            let _ = tokio::spawn(self.clone().read(attempt)).await;
            self.update(tried);
        }
        before.as_ref().map(Arc::as_ptr) != tried.set.as_ref().map(Arc::as_ptr)
    }

    /// Takes the current keys in place of those that were found before.
    pub(super) fn update(&self, found: &mut FittingKeys) {
        found.set = self.now();
    }

    /// Reads the keys.
    async fn read(self, mut attempt: OwnedMutexGuard<Option<Instant>>) {
        let now = Instant::now();
        *attempt = Some(now);
        let read = self.source.read().await;
        self.is_failing.store(read.is_err(), Ordering::Relaxed);
        match read {
            Ok(keys) => {
                let set = Arc::new(KeySet { keys, read: now });
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(set);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an issuer's keys cannot be read");
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
