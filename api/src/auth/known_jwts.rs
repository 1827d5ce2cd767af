//! The JWTs that were valid when they were last checked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use db_locks_service::{
    Kept,
    access::{Identity, SecretHash},
    beyond_shares,
};
use tokio::time::Instant;

/// The largest number of remembered tokens.
const MOST: usize = 10_000;
/// What remains when there are as many. So tokens are forgotten many at a time, since each time all are read.
const KEPT: usize = MOST / 16 * 15;
/// How long a check counts. Then the token is checked again, since its key may have been withdrawn.
const RECHECK_AFTER: Duration = Duration::from_mins(1);
/// How long it is remembered, at most, that a token was valid. The checks of such a token do not wait for those of invented ones.
const REMEMBERED_FOR: Duration = Duration::from_hours(24);

/// The tokens that were valid when they were last checked, and have not expired.
#[derive(Debug, Default)]
pub(super) struct KnownJwts(Mutex<HashMap<SecretHash, KnownJwt>>);

#[derive(Debug, Clone)]
struct KnownJwt {
    identity: Arc<Identity>,
    /// When the last check no longer counts.
    until: Instant,
    /// When the token expires, at the latest.
    ends: Instant,
}

impl KnownJwts {
    fn known(&self) -> MutexGuard<'_, HashMap<SecretHash, KnownJwt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of a token whose last check still counts.
    pub(super) fn checked(&self, hash: &SecretHash) -> Option<Arc<Identity>> {
        let known = self.known();
        known.get(hash).filter(|jwt| Instant::now() < jwt.until).map(|jwt| Arc::clone(&jwt.identity))
    }

    /// The identity that a token had at its last check, if it has not expired.
    pub(super) fn remembered(&self, hash: &SecretHash) -> Option<Arc<Identity>> {
        let known = self.known();
        known.get(hash).filter(|jwt| Instant::now() < jwt.ends).map(|jwt| Arc::clone(&jwt.identity))
    }

    /// Remembers a token that is valid, and expires after this time.
    pub(super) fn remember(&self, hash: SecretHash, identity: &Arc<Identity>, left: Duration) {
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(&hash) {
            known.retain(|_, jwt| now < jwt.ends);
            if known.len() >= MOST {
                make_room(&mut known);
            }
        }
        let (until, ends) = (now + left.min(RECHECK_AFTER), now + left.min(REMEMBERED_FOR));
        known.insert(hash, KnownJwt { identity: Arc::clone(identity), until, ends });
    }

    /// The same tokens, each of which has to be checked again.
    pub(super) fn unchecked(&self) -> Self {
        let mut known = self.known().clone();
        let now = Instant::now();
        for jwt in known.values_mut() {
            jwt.until = now;
        }
        Self(Mutex::new(known))
    }

    /// Forgets a token that is no longer valid.
    pub(super) fn forget(&self, hash: &SecretHash) {
        self.known().remove(hash);
    }
}

/// Forgets tokens of the tenants that have the most.
fn make_room(known: &mut HashMap<SecretHash, KnownJwt>) {
    let kept = known.iter().map(|(hash, jwt)| Kept {
        key: *hash,
        party: jwt.identity.tenant.as_ref(),
        used: jwt.until,
        size: 1,
    });
    for hash in beyond_shares(kept, KEPT) {
        known.remove(&hash);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use db_locks_service::{
        access::{Role, credential},
        domain::Tenant,
    };

    use super::*;

    fn identity(tenant: &str) -> Arc<Identity> {
        Arc::new(Identity {
            who: Arc::from("jwt:a:b"),
            credential: credential("jwt:a:b"),
            tenant: Some(Tenant::new(tenant).unwrap()),
            role: Role::Read,
            keys: None,
            owner: None,
            expires_at: None,
        })
    }

    fn hash(number: usize) -> SecretHash {
        SecretHash::of(&number.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_checked_again_after_a_minute_and_remembered_until_it_expires() {
        let jwts = KnownJwts::default();
        let identity = identity("a");
        // Seconds until it expires, and after how many seconds it is looked at, with what is known of it then.
        for (left, after, is_checked, is_remembered) in [
            (2, 1, true, true),
            (2, 3, false, false),
            (600, 59, true, true),
            (600, 61, false, true),
            (600, 601, false, false),
            (u64::MAX, 61, false, true),
        ] {
            jwts.remember(hash(1), &identity, Duration::from_secs(left));
            tokio::time::advance(Duration::from_secs(after)).await;
            let known = (jwts.checked(&hash(1)).is_some(), jwts.remembered(&hash(1)).is_some());
            assert_eq!(known, (is_checked, is_remembered), "{after} of {left} s");
        }
        jwts.remember(hash(1), &identity, Duration::from_secs(9));
        let again = jwts.unchecked();
        assert!(again.checked(&hash(1)).is_none() && again.remembered(&hash(1)).is_some());
        jwts.forget(&hash(1));
        assert!(jwts.remembered(&hash(1)).is_none());
    }

    /// A tenant whose runners ask for a new token for each job has very many.
    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_very_many_tokens_lets_only_its_own_be_forgotten() {
        let jwts = KnownJwts::default();
        let (many, few) = (identity("many"), identity("few"));
        let left = Duration::from_mins(10);
        jwts.remember(hash(0), &few, left);
        for number in 1..=3 * MOST {
            jwts.remember(hash(number), &many, left);
            assert!(jwts.known().len() <= MOST);
        }
        assert_eq!(jwts.remembered(&hash(0)).unwrap().tenant, few.tenant);
        assert!(jwts.remembered(&hash(3 * MOST)).is_some());
    }
}
