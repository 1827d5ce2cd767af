//! Reads sets of keys (RFC 7517).

use std::{io::ErrorKind, path::Path, time::Duration};

use db_locks_service::read_regular_file;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{task::spawn_blocking, time::timeout};

use super::KeySource;

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
    #[error("{place}: the set of keys cannot be fetched")]
    Url {
        /// The URL, without secrets.
        place: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The answer of the URL is too large.
    #[error("{0}: the set of keys is too large")]
    TooLarge(String),
}

/// A key that may have signed a token.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl KeySource {
    pub(super) async fn read(&self) -> Result<Vec<Key>, KeysError> {
        match self {
            Self::File(path) => read_file_apart(path).await,
            Self::Url(url) => {
                let place = without_secrets(url);
                let fetched = fetch(url).await;
                let body = fetched
                    .map_err(|error| KeysError::Url { place: place.clone(), source: error.without_url() })?;
                parse(&place, &body.ok_or_else(|| KeysError::TooLarge(place.clone()))?)
            }
        }
    }
}

/// Reads a URL; `None` if the answer is too large.
async fn fetch(url: &str) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let client = reqwest::Client::builder().https_only(true).timeout(TIMEOUT).build()?;
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

/// A URL as logs show it: without a password or a query.
fn without_secrets(url: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(url) else { return "a URL".to_owned() };
    let has_no_host = url.set_password(None).is_err() || url.set_username("").is_err();
    url.set_query(None);
    if has_no_host { "a URL".to_owned() } else { url.into() }
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

pub(super) fn read_file(path: &Path) -> Result<Vec<Key>, KeysError> {
    let place = path.display().to_string();
    let body = read_regular_file(path, MAX_BYTES as u64)
        .map_err(|source| KeysError::File { path: place.clone(), source })?;
    parse(&place, &body)
}

fn parse(place: &str, body: &[u8]) -> Result<Vec<Key>, KeysError> {
    let set: Set = serde_json::from_slice(body)
        .map_err(|source| KeysError::Format { place: place.to_owned(), source })?;
    // RFC 7517, 5: keys that are not understood are ignored.
    let mut keys: Vec<_> =
        set.keys.iter().filter_map(|key| key_of(&Jwk::deserialize(key).ok()?)).take(MAX_KEYS + 1).collect();
    if keys.is_empty() || keys.len() > MAX_KEYS {
        // The old ones do not stay in force: the issuer may have withdrawn them.
        tracing::warn!(
            place,
            "a set has no key for RS256, ES256 or EdDSA, or more than {MAX_KEYS}, the rest of which do not count"
        );
    }
    keys.truncate(MAX_KEYS);
    Ok(keys)
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(id: usize) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id.to_string(), "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn read(keys: &[Value]) -> Result<Vec<Key>, KeysError> {
        parse("here", json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn keys_that_are_not_understood_are_ignored() {
        let odd = [json!(null), json!({}), json!({"kty": "?"}), json!({"kid": 7, "kty": "OKP"})];
        let keys = read(&[&odd[..], &[key(1)], &odd].concat()).unwrap();
        assert_eq!(keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some("1")]);
        assert_eq!([&odd[..], &[]].map(|keys| read(keys).unwrap().len()), [0, 0], "all are withdrawn");
    }

    #[test]
    fn no_more_keys_count_than_can_be_tried() {
        let keys: Vec<_> = (0..=MAX_KEYS).map(key).collect();
        assert_eq!([&keys, &keys[1..]].map(|keys| read(keys).unwrap().len()), [MAX_KEYS; 2]);
    }

    #[test]
    fn errors_show_no_secret_of_a_url() {
        for (url, shown) in [
            ("https://me:secret@host:8/keys?token=secret", "https://host:8/keys"),
            ("https://host/", "https://host/"),
            ("no URL with a secret", "a URL"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
