//! The public keys of an issuer, from a file or an https URL.

use std::{
    io::ErrorKind,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use db_locks_service::{Unavailable, read_regular_file};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::rules::KeySource;

/// The shortest time between two refreshes, also because of an unknown `kid`, which any client can make up.
const REFRESH_EVERY: Duration = Duration::from_secs(10);
/// The age at which keys from a URL are read again, while requests go on with them.
const REFRESH_AT: Duration = Duration::from_mins(10);
/// The age at which requests wait for keys to be read again, so that withdrawn keys disappear.
const MAX_AGE: Duration = Duration::from_mins(15);
/// The time limit for reading a URL, or a file while requests wait for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest size of a key set, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_KEYS: usize = 100;

/// The reason why keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The path.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The text is not a JWK set.
    #[error("{place}: it is no JWK set: {source}")]
    Format {
        /// The file or URL.
        place: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// The set has no usable key.
    #[error("{0}: it has no key for RS256, ES256 or EdDSA")]
    NoKey(String),
    /// The URL does not answer.
    #[error("a set of keys cannot be fetched: {0}")]
    Url(#[from] reqwest::Error),
    /// The answer of the URL is too large.
    #[error("{0}: the set of keys is too large")]
    TooLarge(String),
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// The keys of an issuer.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    source: KeySource,
    current: Arc<RwLock<Arc<Vec<Key>>>>,
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
    keys: Arc<Vec<Key>>,
    id: Option<String>,
    algorithm: Algorithm,
}

impl FittingKeys {
    pub(super) fn iter(&self) -> impl Iterator<Item = &DecodingKey> {
        let Self { keys, id, algorithm } = self;
        let fits = move |key: &&Key| {
            key.algorithm == *algorithm && (id.is_none() || key.id.is_none() || key.id == *id)
        };
        keys.iter().filter(fits).map(|key| &key.decoding)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl Keys {
    /// Reads the keys of a file. The keys of a URL are read when the first one is needed, or were read for other rules `before`.
    pub(super) fn new(source: &KeySource, before: &[Self]) -> Result<Self, KeysError> {
        let is_same_url = |keys: &&Self| matches!(source, KeySource::Url(_)) && keys.source == *source;
        if let Some(same) = before.iter().find(is_same_url) {
            return Ok(same.clone());
        }
        let (keys, read) = match source {
            KeySource::File(path) => (read_file(path)?, Some(Instant::now())),
            KeySource::Url(_) => (Vec::new(), None),
        };
        let reads = Reads { attempt: read, success: read };
        let current = Arc::new(RwLock::new(keys.into()));
        Ok(Self { source: source.clone(), current, reads: Arc::new(Mutex::new(reads)) })
    }

    fn now(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
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
        if found.keys.is_empty() { Err(Unavailable::KeysOfIssuer) } else { Ok(found) }
    }

    /// Reads the keys again if none fits, or if they are old. A request whose key is known does not wait for that, unless the keys are
    /// outdated.
    async fn refresh(&self, found: &mut FittingKeys) {
        let reads = match Arc::clone(&self.reads).try_lock_owned() {
            Ok(reads) => reads,
            Err(_) if !found.is_empty() => return,
            Err(_) => {
                let reads = Arc::clone(&self.reads).lock_owned().await;
                found.keys = self.now();
                reads
            }
        };
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
            found.keys = self.now();
        }
    }

    /// Reads the keys.
    async fn read(self, mut reads: OwnedMutexGuard<Reads>) {
        reads.attempt = Some(Instant::now());
        match self.source.read().await {
            Ok(keys) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
                reads.success = Some(Instant::now());
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an issuer's keys cannot be read");
            }
        }
    }
}

impl KeySource {
    async fn read(&self) -> Result<Vec<Key>, KeysError> {
        match self {
            Self::File(path) => read_file_apart(path).await,
            Self::Url(url) => {
                let client = reqwest::Client::builder().https_only(true).timeout(TIMEOUT).build()?;
                let mut response = client.get(url).send().await?.error_for_status()?;
                let mut body = Vec::new();
                while let Some(chunk) = response.chunk().await? {
                    body.extend_from_slice(&chunk);
                    if body.len() > MAX_BYTES {
                        return Err(KeysError::TooLarge(url.clone()));
                    }
                }
                parse(url, &body)
            }
        }
    }
}

/// Reads a file on another thread, since its disk may be slow.
async fn read_file_apart(path: &Path) -> Result<Vec<Key>, KeysError> {
    let own = path.to_owned();
    let reading = spawn_blocking(move || read_file(&own));
    let Ok(Ok(keys)) = timeout(TIMEOUT, reading).await else {
        // It takes too long, or the service ends.
        let source = ErrorKind::TimedOut.into();
        return Err(KeysError::File { path: path.display().to_string(), source });
    };
    keys
}

fn read_file(path: &Path) -> Result<Vec<Key>, KeysError> {
    let place = path.display().to_string();
    let body = read_regular_file(path, MAX_BYTES as u64)
        .map_err(|source| KeysError::File { path: place.clone(), source })?;
    parse(&place, &body)
}

fn parse(place: &str, body: &[u8]) -> Result<Vec<Key>, KeysError> {
    let set: JwkSet = serde_json::from_slice(body)
        .map_err(|source| KeysError::Format { place: place.to_owned(), source })?;
    let keys: Vec<_> = set.keys.iter().take(MAX_KEYS).filter_map(key_of).collect();
    if keys.is_empty() { Err(KeysError::NoKey(place.to_owned())) } else { Ok(keys) }
}

/// Converts a JWK; `None` if it is not for one of the accepted signatures.
fn key_of(jwk: &Jwk) -> Option<Key> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(curve) if curve.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let named = jwk.common.key_algorithm.as_ref();
    if named.is_some_and(|named| named.to_string() != format!("{algorithm:?}")) {
        return None;
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithm, decoding: DecodingKey::from_jwk(jwk).ok()? })
}
