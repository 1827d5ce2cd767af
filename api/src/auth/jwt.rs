//! Checks JWTs of trusted issuers.

use std::{net::IpAddr, sync::Arc, time::Duration};

use db_locks_service::{
    Unavailable,
    access::{Identity, SecretHash},
    domain::Tenant,
};
use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header, get_current_timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{task::spawn_blocking, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    check_turns::{CheckTurns, Party},
    jwks::{FittingKeys, Keys, KeysError},
    known_jwts::KnownJwts,
    recheck::RECHECK_AFTER,
    rules::{Issuer, Rules},
    signature,
};
use crate::addresses::Addresses;

/// The current rules, the keys of their issuers, and the tokens that were checked.
#[derive(Debug)]
pub(crate) struct Jwts {
    pub(super) rules: Rules,
    keys: Vec<Keys>,
    known: KnownJwts,
    turns: Arc<CheckTurns>,
    /// The tenants of the valid tokens that came last from addresses.
    addresses: Arc<Addresses<Option<Tenant>>>,
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

/// The claims that are read before the signature is checked: those that select the issuer, and with which most refused tokens are
/// refused without a check.
#[derive(Deserialize)]
struct FirstClaims {
    iss: String,
    /// In seconds since 1970.
    exp: f64,
}

impl Jwts {
    /// Reads the issuers' key files. Keys of URLs are read when the first one is needed. Those that were read for the rules `before`
    /// are kept, since the issuer may be out of reach now. It is remembered which tokens were valid, but each is checked again.
    pub(super) fn new(rules: Rules, before: Option<&Self>) -> Result<Self, KeysError> {
        signature::install();
        let keys_before = before.map_or(&[][..], |before| &before.keys);
        let keys = rules.issuers.iter().map(|issuer| Keys::new(&issuer.jwks, keys_before));
        let keys = keys.collect::<Result<_, _>>()?;
        let known = before.map_or_else(KnownJwts::default, |before| before.known.unchecked());
        let turns = before.map_or_else(Arc::default, |before| Arc::clone(&before.turns));
        let addresses = before.map_or_else(Arc::default, |before| Arc::clone(&before.addresses));
        Ok(Self { rules, keys, known, turns, addresses })
    }

    /// Whether a token has the form of a JWT: three parts, the first of them a JSON object.
    pub(super) fn has_jwt_form(token: &str) -> bool {
        token.starts_with("eyJ") && token.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// The identity of a token that was checked a short time ago.
    pub(super) fn checked(&self, hash: &SecretHash) -> Option<Arc<Identity>> {
        self.known.checked(hash)
    }

    /// Checks a token that a client with this address sent, without what the client can choose itself.
    pub(super) async fn check(
        self: Arc<Self>,
        token: Arc<str>,
        hash: SecretHash,
        client: Option<IpAddr>,
    ) -> Result<Arc<Identity>, Refused> {
        if self.known.has_no_rule(&hash) {
            return Err(Refused::NoRule);
        }
        loop {
            let began = Instant::now();
            let checked = Arc::clone(&self).check_now(Arc::clone(&token), hash, client).await;
            if checked.is_err() || began.elapsed() < RECHECK_AFTER {
                return checked;
            }
            // The connection may have waited for its turn while the result lay there.
            if let Some(identity) = self.known.checked(&hash) {
                return Ok(identity);
            }
        }
    }

    async fn check_now(
        self: Arc<Self>,
        token: Arc<str>,
        hash: SecretHash,
        client: Option<IpAddr>,
    ) -> Result<Arc<Identity>, Refused> {
        let header = decode_header(&*token).map_err(|_| Refused::Invalid)?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: whoever does not understand an extension named here must refuse. Nothing here does.
            return Err(Refused::Invalid);
        }
        let claims: FirstClaims =
            jsonwebtoken::dangerous::insecure_decode_claims(&*token).map_err(|_| Refused::Invalid)?;
        let of_issuer = self.rules.issuers.iter().position(|issuer| issuer.iss == claims.iss);
        let issuer = of_issuer.ok_or(Refused::Invalid)?;
        if left(claims.exp, self.rules.issuers[issuer].leeway).is_none() {
            return Err(Refused::Invalid);
        }
        // In a task of its own: a connection is polled in its turns only, and others wait while this one may read or check.
        let checking =
            tokio::spawn(self.check_signature(token, hash, (header.kid, header.alg), issuer, client));
        // Neither begins while the service ends.
        AbortOnDropHandle::new(checking).await.unwrap_or(Err(Refused::Unchecked(Unavailable::ShuttingDown)))
    }

    async fn check_signature(
        self: Arc<Self>,
        token: Arc<str>,
        hash: SecretHash,
        (key, algorithm): (Option<String>, Algorithm),
        issuer: usize,
        client: Option<IpAddr>,
    ) -> Result<Arc<Identity>, Refused> {
        let mut keys = self.keys[issuer].find(key, algorithm).await.map_err(Refused::Unchecked)?;
        if keys.is_empty() {
            return Err(Refused::Invalid);
        }
        loop {
            let this = Arc::clone(&self);
            let checked = this.check_in_turn(Arc::clone(&token), hash, (issuer, &mut keys), client).await;
            // Not while others wait for the turn.
            if checked != Err(Refused::Invalid) || !self.keys[issuer].have_changed(&mut keys).await {
                return checked;
            }
        }
    }

    /// Checks a token with these keys of an issuer, or with those that were read while it waited for its turn.
    async fn check_in_turn(
        self: Arc<Self>,
        token: Arc<str>,
        hash: SecretHash,
        (issuer, keys): (usize, &mut FittingKeys),
        client: Option<IpAddr>,
    ) -> Result<Arc<Identity>, Refused> {
        let turn = self.turns.take(&self.party(&hash, client)).await.map_err(Refused::Unchecked)?;
        if let Some(identity) = self.known.checked(&hash) {
            // With another request, while this one waited.
            return Ok(identity);
        }
        self.keys[issuer].update(keys);
        let keys = keys.clone();
        let verifying = spawn_blocking(move || {
            let _turn = turn;
            let verified = self.verify(&token, &self.rules.issuers[issuer], &keys);
            match &verified {
                Ok((identity, left)) => {
                    self.known.remember(hash, identity, *left);
                    if let Some(address) = client {
                        self.addresses.remember(address, identity.tenant.clone());
                    }
                }
                Err(refused) => self.known.refuse(hash, *refused == Refused::NoRule),
            }
            verified.map(|(identity, _)| identity)
        });
        verifying.await.unwrap_or(Err(Refused::Unchecked(Unavailable::ShuttingDown)))
    }

    /// Whose turn the check of a token is that this client sent.
    fn party(&self, hash: &SecretHash, client: Option<IpAddr>) -> Party {
        if let Some(identity) = self.known.remembered(hash) {
            return Party::Remembered(identity.tenant.clone());
        }
        let known = client.and_then(|address| Some(Party::Known(self.addresses.get(address)?, address)));
        known.unwrap_or(Party::Client(client))
    }

    /// The bearer of a valid token, and the time until it expires.
    fn verify(
        &self,
        token: &str,
        issuer: &Issuer,
        keys: &FittingKeys,
    ) -> Result<(Arc<Identity>, Duration), Refused> {
        let validation = validation(issuer, keys.algorithm());
        let checked = keys.iter().find_map(|key| decode::<Map<String, Value>>(token, key, &validation).ok());
        let TokenData { claims, .. } = checked.ok_or(Refused::Invalid)?;
        let exp = claims.get("exp").and_then(Value::as_f64);
        let left = exp.and_then(|exp| left(exp, issuer.leeway)).ok_or(Refused::Invalid)?;
        let identity = self.rules.of_claims(&issuer.name, &claims).ok_or(Refused::NoRule)?;
        Ok((Arc::new(identity), left))
    }
}

/// The time until a token expires, whose `exp` is in seconds since 1970; `None` if that has passed. After some centuries it is no longer
/// exact.
fn left(exp: f64, leeway: Duration) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
    let left = exp + leeway.as_secs_f64() - get_current_timestamp() as f64;
    if left < 0.0 { None } else { Some(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)) }
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
mod tests;
