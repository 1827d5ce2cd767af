//! Checks JWTs of trusted issuers.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use db_locks_service::{
    Unavailable,
    access::{Identity, SecretHash},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, TokenData, Validation, decode, decode_header, get_current_timestamp,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    check_turns::{CheckTurns, Party},
    jwks::{Keys, KeysError},
    rules::{Issuer, Rules},
    signature,
};

/// The largest number of cached tokens.
const MOST_KNOWN: usize = 10_000;
/// How long a token is cached. Then it is checked again, since its key may have been withdrawn.
const RECHECK_AFTER: Duration = Duration::from_mins(1);

/// The current rules, the keys of their issuers, and the cache of checked tokens.
#[derive(Debug)]
pub(crate) struct Jwts {
    pub(super) rules: Rules,
    keys: Vec<Keys>,
    known: Mutex<HashMap<SecretHash, CheckedJwt>>,
    turns: Arc<CheckTurns>,
}

#[derive(Debug)]
struct CheckedJwt {
    identity: Arc<Identity>,
    until: Instant,
}

/// The reason why a JWT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is malformed, expired, wrongly signed, or of an unknown issuer or another audience.
    Invalid,
    /// The token is valid, but no rule matches its claims.
    NoRule,
    /// The token cannot be checked now.
    Unchecked(Unavailable),
}

/// The claim that selects the issuer, read before the signature is checked.
#[derive(Deserialize)]
struct IssuerClaim {
    iss: String,
}

impl Jwts {
    /// Reads the issuers' key files. Keys of URLs are read when the first one is needed.
    pub(super) fn new(rules: Rules) -> Result<Self, KeysError> {
        signature::install();
        let keys = rules.issuers.iter().map(|issuer| Keys::new(&issuer.jwks)).collect::<Result<_, _>>()?;
        Ok(Self { rules, keys, known: Mutex::default(), turns: Arc::default() })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SecretHash, CheckedJwt>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a token has the form of a JWT: three parts, the first of them a JSON object.
    pub(super) fn has_jwt_form(token: &str) -> bool {
        token.starts_with("eyJ") && token.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// The identity of a token that is in the cache.
    pub(super) fn remembered(&self, hash: &SecretHash) -> Option<Arc<Identity>> {
        let known = self.known();
        known.get(hash).filter(|known| Instant::now() < known.until).map(|known| Arc::clone(&known.identity))
    }

    /// Checks a token that a client with this address sent, without what the client can choose itself.
    pub(super) async fn check(
        self: Arc<Self>,
        token: String,
        hash: SecretHash,
        client: Option<IpAddr>,
    ) -> Result<Arc<Identity>, Refused> {
        let header = decode_header(&token).map_err(|_| Refused::Invalid)?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: whoever does not understand an extension named here must refuse. Nothing here does.
            return Err(Refused::Invalid);
        }
        let claim: IssuerClaim =
            jsonwebtoken::dangerous::insecure_decode_claims(&token).map_err(|_| Refused::Invalid)?;
        let of_issuer = self.rules.issuers.iter().position(|issuer| issuer.iss == claim.iss);
        let issuer = of_issuer.ok_or(Refused::Invalid)?;
        let keys = self.keys[issuer].find(header.kid.as_deref(), header.alg).await;
        if keys.is_empty() {
            return Err(Refused::Invalid);
        }
        let was_valid = self.known().contains_key(&hash);
        let party = if was_valid { Party::Remembered } else { Party::Client(client) };
        let turn = self.turns.take(party).await.map_err(Refused::Unchecked)?;
        let verifying = spawn_blocking(move || {
            let _turn = turn;
            self.verify(&token, hash, &self.rules.issuers[issuer], header.alg, &keys)
        });
        // It is not begun while the service ends.
        verifying.await.unwrap_or(Err(Refused::Unchecked(Unavailable::ShuttingDown)))
    }

    fn verify(
        &self,
        token: &str,
        hash: SecretHash,
        issuer: &Issuer,
        algorithm: Algorithm,
        keys: &[DecodingKey],
    ) -> Result<Arc<Identity>, Refused> {
        let validation = validation(issuer, algorithm);
        let checked = keys.iter().find_map(|key| decode::<Map<String, Value>>(token, key, &validation).ok());
        let TokenData { claims, .. } = checked.ok_or(Refused::Invalid)?;
        let identity = self.rules.of_claims(&issuer.name, &claims).ok_or(Refused::NoRule)?;
        let identity = Arc::new(identity);
        self.remember(hash, &identity, &claims, issuer.leeway);
        Ok(identity)
    }

    fn remember(
        &self,
        hash: SecretHash,
        identity: &Arc<Identity>,
        claims: &Map<String, Value>,
        leeway: Duration,
    ) {
        // The check made sure that `exp` is a number and has not passed.
        let exp = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let left = exp + leeway.as_secs_f64() - get_current_timestamp() as f64;
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.retain(|_, known| now < known.until);
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
        }
        let until = now + Duration::try_from_secs_f64(left).unwrap_or_default().min(RECHECK_AFTER);
        known.insert(hash, CheckedJwt { identity: Arc::clone(identity), until });
    }
}

fn validation(issuer: &Issuer, algorithm: jsonwebtoken::Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = issuer.leeway.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[&issuer.iss]);
    validation.set_audience(&[&issuer.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use db_locks_service::access::{Role, credential};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_token_is_remembered_until_it_is_over_and_no_longer() {
        let jwts = Jwts::new(Rules::default()).unwrap();
        let identity = Arc::new(Identity {
            who: Arc::from("jwt:a:b"),
            credential: credential("jwt:a:b"),
            tenant: None,
            role: Role::Read,
            keys: None,
            owner: None,
            expires_at: None,
        });
        let leeway = Duration::from_secs(10);
        // Seconds until `exp`, and the longest time in the cache, in seconds.
        for (ends_in, most) in [(-8, 2), (20, 30), (600, 60)] {
            let claims = json!({"exp": i64::try_from(get_current_timestamp()).unwrap() + ends_in});
            let hash = SecretHash::of(b"a");
            jwts.remember(hash, &identity, claims.as_object().unwrap(), leeway);
            let left = jwts.known()[&hash].until - Instant::now();
            assert!(left <= Duration::from_secs(most) && left.as_secs() + 2 >= most, "{ends_in}: {left:?}");
        }
    }
}
