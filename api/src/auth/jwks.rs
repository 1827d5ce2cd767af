//! The public keys of an issuer, from a file or an https URL.

mod read;

use std::{
    sync::{Arc, PoisonError, RwLock},
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

/// The keys of an issuer.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    source: KeySource,
    current: Arc<RwLock<Option<Arc<Vec<Key>>>>>,
    /// Locked during a read.
    reads: Arc<Mutex<Reads>>,
}

/// The times at which keys were read; `None` if never.
#[derive(Debug, Default)]
struct Reads {
    attempt: Option<Instant>,
    success: Option<Instant>,
}

fn is_past(time: Option<Instant>, limit: Duration) -> bool {
    time.is_none_or(|time| time.elapsed() >= limit)
}

impl Reads {
    /// Whether keys are to be read now: because none fits a token, or because they are old.
    fn are_due(&self, none_fits: bool) -> bool {
        is_past(self.attempt, REFRESH_EVERY) && (none_fits || is_past(self.success, REFRESH_AT))
    }

    /// Whether the keys may no longer be used before they are read again.
    fn are_outdated(&self) -> bool {
        is_past(self.success, MAX_AGE)
    }
}

/// The keys of an issuer that may have signed a token.
#[derive(Debug)]
pub(super) struct FittingKeys {
    /// `None` if none could be read yet.
    keys: Option<Arc<Vec<Key>>>,
    id: Option<String>,
    algorithm: Algorithm,
}

impl FittingKeys {
    pub(super) fn iter(&self) -> impl Iterator<Item = &DecodingKey> {
        let Self { keys, id, algorithm } = self;
        let fits = move |key: &&Key| {
            key.algorithm == *algorithm && (id.is_none() || key.id.is_none() || key.id == *id)
        };
        keys.iter().flat_map(|keys| keys.iter()).filter(fits).map(|key| &key.decoding)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
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
        let (keys, read) = match (source, same) {
            (KeySource::Url(_), Some(same)) => return Ok(same.clone()),
            (KeySource::Url(_), None) => (None, None),
            (KeySource::File(path), _) => match (read_file(path), same) {
                (Ok(keys), None) if keys.is_empty() => {
                    return Err(KeysError::NoKey(path.display().to_string()));
                }
                (Ok(keys), _) => (Some(keys), Some(Instant::now())),
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
        let reads = Reads { attempt: read, success: read };
        let current = Arc::new(RwLock::new(keys.map(Arc::new)));
        Ok(Self { source: source.clone(), current, reads: Arc::new(Mutex::new(reads)) })
    }

    /// The current keys; `None` if none could be read since the start.
    fn now(&self) -> Option<Arc<Vec<Key>>> {
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
        let mut found = FittingKeys { keys: self.now(), id, algorithm };
        self.refresh(&mut found).await;
        if found.keys.is_some() { Ok(found) } else { Err(Unavailable::KeysOfIssuer) }
    }

    /// Reads the keys again if none fits, or if they are old. A request whose key is known does not wait for that, unless the keys are
    /// outdated.
    async fn refresh(&self, found: &mut FittingKeys) {
        let reads = match Arc::clone(&self.reads).try_lock_owned() {
            Ok(reads) => reads,
            Err(_) if !found.is_empty() => return,
            Err(_) => Arc::clone(&self.reads).lock_owned().await,
        };
        // They may have been read meanwhile.
        self.update(found);
        let is_url = matches!(self.source, KeySource::Url(_));
        let none_fits = found.is_empty();
        if !reads.are_due(none_fits) || !(is_url || none_fits) {
            return;
        }
        let waits = none_fits || reads.are_outdated();
        // In a task of its own: otherwise clients that hang up could keep the keys from ever being read. If the task panics, the
        // next request that needs keys starts another one.
        let reading = tokio::spawn(self.clone().read(reads));
        if waits {
            let _ = reading.await;
            self.update(found);
        }
    }

    /// Takes the current keys in place of those that were found before.
    pub(super) fn update(&self, found: &mut FittingKeys) {
        found.keys = self.now();
    }

    /// Reads the keys.
    async fn read(self, mut reads: OwnedMutexGuard<Reads>) {
        reads.attempt = Some(Instant::now());
        match self.source.read().await {
            Ok(keys) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.into());
                reads.success = Some(Instant::now());
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an issuer's keys cannot be read");
            }
        }
    }
}
