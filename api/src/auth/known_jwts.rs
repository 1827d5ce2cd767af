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

/// The most memory of remembered tokens, in bytes as [`KnownJwt::bytes`] counts them: of 10,000 tokens with short names.
const MOST_BYTES: usize = 10_000 * JWT_BYTES;
/// What remains when the memory is full. So tokens are forgotten many at a time, since each time all are read.
const KEPT_BYTES: usize = MOST_BYTES / 16 * 15;
/// At least the memory of a token, without the name of its bearer, which may have 10 KB.
const JWT_BYTES: usize = 1 << 10;
/// The largest number of tokens of which it is remembered that they have no rule.
const MOST_WITHOUT_RULE: usize = 10_000;
/// How long a check counts. Then the token is checked again, since its key may have been withdrawn.
const CHECKED_FOR: Duration = Duration::from_mins(1);
/// How long it is remembered, at most, that a token was valid. The checks of such a token do not wait for those of invented ones.
const REMEMBERED_FOR: Duration = Duration::from_hours(24);

/// The tokens that were valid when they were last checked, and have not expired.
#[derive(Debug, Default)]
pub(super) struct KnownJwts(Mutex<Known>);

#[derive(Debug, Default, Clone)]
struct Known {
    by_hash: HashMap<SecretHash, KnownJwt>,
    /// The memory of all tokens.
    bytes: usize,
    /// The tokens whose claims no rule matched, and until when that counts.
    without_rule: HashMap<SecretHash, Instant>,
}

#[derive(Debug, Clone)]
struct KnownJwt {
    identity: Arc<Identity>,
    /// When the last check no longer counts.
    until: Instant,
    /// When the token expires, at the latest.
    ends: Instant,
}

impl KnownJwt {
    /// The memory that it takes, roughly. Its key patterns are those of its rule.
    fn bytes(&self) -> usize {
        JWT_BYTES + self.identity.who.len()
    }
}

impl Known {
    fn insert(&mut self, hash: SecretHash, jwt: KnownJwt) {
        self.remove(&hash);
        self.bytes += jwt.bytes();
        self.by_hash.insert(hash, jwt);
    }

    fn remove(&mut self, hash: &SecretHash) {
        if let Some(removed) = self.by_hash.remove(hash) {
            self.bytes -= removed.bytes();
        }
    }

    /// Forgets tokens that have expired at `now`, and tokens of the tenants whose tokens take the most memory.
    fn make_room(&mut self, now: Instant) {
        self.by_hash.retain(|_, jwt| now < jwt.ends);
        let kept = self.by_hash.iter().map(|(hash, jwt)| Kept {
            key: *hash,
            party: jwt.identity.tenant.as_ref(),
            used: jwt.until,
            size: jwt.bytes(),
        });
        for hash in beyond_shares(kept, KEPT_BYTES) {
            self.by_hash.remove(&hash);
        }
        self.bytes = self.by_hash.values().map(KnownJwt::bytes).sum();
    }
}

impl KnownJwts {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of a token whose last check still counts.
    pub(super) fn checked(&self, hash: &SecretHash) -> Option<Arc<Identity>> {
        let known = self.known();
        known.by_hash.get(hash).filter(|jwt| Instant::now() < jwt.until).map(|jwt| Arc::clone(&jwt.identity))
    }

    /// The identity that a token had at its last check, if it has not expired.
    pub(super) fn remembered(&self, hash: &SecretHash) -> Option<Arc<Identity>> {
        let known = self.known();
        known.by_hash.get(hash).filter(|jwt| Instant::now() < jwt.ends).map(|jwt| Arc::clone(&jwt.identity))
    }

    /// Remembers a token that is valid, and expires after this time.
    pub(super) fn remember(&self, hash: SecretHash, identity: &Arc<Identity>, left: Duration) {
        let now = Instant::now();
        let mut known = self.known();
        let (until, ends) = (now + left.min(CHECKED_FOR), now + left.min(REMEMBERED_FOR));
        known.insert(hash, KnownJwt { identity: Arc::clone(identity), until, ends });
        if known.bytes > MOST_BYTES {
            known.make_room(now);
        }
    }

    /// The same tokens, each of which has to be checked again.
    pub(super) fn unchecked(&self) -> Self {
        let mut known = self.known().clone();
        let now = Instant::now();
        for jwt in known.by_hash.values_mut() {
            jwt.until = now;
        }
        known.without_rule.clear();
        Self(Mutex::new(known))
    }

    /// Forgets a token that is no longer valid, and remembers for a while whether it is genuine and has no rule.
    pub(super) fn refuse(&self, hash: SecretHash, has_no_rule: bool) {
        let mut known = self.known();
        known.remove(&hash);
        if has_no_rule {
            if known.without_rule.len() >= MOST_WITHOUT_RULE {
                known.without_rule.clear();
            }
            known.without_rule.insert(hash, Instant::now() + CHECKED_FOR);
        }
    }

    /// Whether no rule matched the claims of a token a short time ago.
    pub(super) fn has_no_rule(&self, hash: &SecretHash) -> bool {
        self.known().without_rule.get(hash).is_some_and(|until| Instant::now() < *until)
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
        named("jwt:a:b", tenant)
    }

    fn named(who: &str, tenant: &str) -> Arc<Identity> {
        Arc::new(Identity {
            who: Arc::from(who),
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
        jwts.refuse(hash(1), true);
        assert!(jwts.remembered(&hash(1)).is_none() && jwts.has_no_rule(&hash(1)));
        assert!(!jwts.unchecked().has_no_rule(&hash(1)), "rules have changed");
        tokio::time::advance(CHECKED_FOR).await;
        assert!(!jwts.has_no_rule(&hash(1)));
    }

    /// A tenant whose runners ask for a new token for each job has very many.
    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_very_many_tokens_lets_only_its_own_be_forgotten() {
        let jwts = KnownJwts::default();
        let (many, few) = (identity("many"), identity("few"));
        let left = Duration::from_mins(10);
        jwts.remember(hash(0), &few, left);
        for number in 1..=30_000 {
            jwts.remember(hash(number), &many, left);
            assert!(jwts.known().by_hash.len() <= 10_000);
        }
        assert_eq!(jwts.remembered(&hash(0)).unwrap().tenant, few.tenant);
        assert!(jwts.remembered(&hash(30_000)).is_some());
    }

    /// An issuer may let its clients choose subjects of kilobytes.
    #[tokio::test(start_paused = true)]
    async fn tokens_with_long_subjects_have_bounded_memory_and_push_out_none_of_another_tenant() {
        let jwts = KnownJwts::default();
        let left = Duration::from_mins(10);
        jwts.remember(hash(0), &identity("few"), left);
        for number in 1..=3_000 {
            jwts.remember(hash(number), &named(&"a".repeat(10_000), "many"), left);
            let known = jwts.known();
            let bytes: usize = known.by_hash.values().map(|jwt| jwt.identity.who.len()).sum();
            assert!(bytes < MOST_BYTES && known.bytes > bytes, "{bytes}");
        }
        assert!(jwts.remembered(&hash(0)).is_some() && jwts.remembered(&hash(3_000)).is_some());
        jwts.remember(hash(1), &identity("few"), Duration::ZERO);
        for number in 0..=3_000 {
            jwts.refuse(hash(number), false);
        }
        assert_eq!(jwts.known().bytes, 0);
    }
}
