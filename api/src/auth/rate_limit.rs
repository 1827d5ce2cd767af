//! The rate limit for each credential.
//!
//! Heartbeats and releases count, but are never refused: exceeding the limit must not cost a caller its locks.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::Method;
use db_locks_service::domain::Credential;
use metrics::{Counter, counter, describe_counter};

/// The burst that is allowed at once: the number of requests that the limit allows in this time.
const BURST: Duration = Duration::from_secs(1);

/// The largest number of credentials in memory.
const MOST_REMEMBERED: usize = 10_000;

/// The metric that counts refused requests.
const REFUSED: &str = "db_locks_rate_limited_requests_total";

/// Describes and registers the metric, so that it exists even without a limit.
pub(crate) fn register() {
    describe_counter!(REFUSED, "Requests that were refused because their credential sends too many");
    counter!(REFUSED).increment(0);
}

/// The rate limit for each credential, as a leaky bucket.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// The time that each request uses up: 1 s divided by the limit.
    share: Duration,
    /// The instant up to which each credential has used up its time.
    used_until: Mutex<HashMap<Credential, Instant>>,
    refused: Counter,
}

impl RateLimit {
    /// A limit of this many requests per second.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            share: Duration::from_secs(1) / per_second.get(),
            used_until: Mutex::default(),
            refused: counter!(REFUSED),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The request is refused: the number of whole seconds after which to try again.
    pub(super) fn count(
        &self,
        credential: Credential,
        is_never_refused: bool,
        now: Instant,
    ) -> Result<(), u64> {
        let mut used_until = self.used_until.lock().unwrap_or_else(PoisonError::into_inner);
        if used_until.len() >= MOST_REMEMBERED && !used_until.contains_key(&credential) {
            used_until.retain(|_, until| *until > now);
            if used_until.len() >= MOST_REMEMBERED {
                used_until.clear();
            }
        }
        let until = used_until.entry(credential).or_insert(now);
        let next = (*until).max(now) + self.share;
        let ahead = next.duration_since(now);
        if ahead <= BURST.max(self.share) {
            *until = next;
            Ok(())
        } else if is_never_refused {
            Ok(())
        } else {
            drop(used_until);
            self.refused.increment(1);
            Err(whole_seconds(ahead.saturating_sub(BURST.max(self.share))))
        }
    }
}

/// A duration in seconds, rounded up, at least 1.
fn whole_seconds(duration: Duration) -> u64 {
    let more = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(more).max(1)
}

/// Whether a request to this route is counted but never refused.
pub(super) fn is_never_refused(route: &str, method: &Method) -> bool {
    match route {
        "/terraform/{key}" => matches!(method.as_str(), "UNLOCK" | "DELETE"),
        _ => method == Method::POST && (route.ends_with("/heartbeat") || route.ends_with("/release")),
    }
}

#[cfg(test)]
mod tests {
    use db_locks_service::access::credential;

    use super::*;

    fn limit(per_second: u32) -> RateLimit {
        RateLimit::new(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN))
    }

    #[test]
    fn a_second_has_so_many_requests_of_each_credential() {
        let (limit, now) = (limit(10), Instant::now());
        let (one, other) = (credential("one"), credential("other"));
        let granted = (0..100).filter(|_| limit.count(one, false, now).is_ok()).count();
        assert_eq!(granted, 10);
        assert_eq!(limit.count(one, false, now), Err(1));
        assert_eq!(limit.count(other, false, now), Ok(()));
        let later = now + Duration::from_millis(500);
        let granted = (0..100).filter(|_| limit.count(one, false, later).is_ok()).count();
        assert_eq!(granted, 5);
    }

    #[test]
    fn heartbeats_and_releases_count_and_are_not_refused() {
        let (limit, now) = (limit(10), Instant::now());
        let one = credential("one");
        assert!((0..100).all(|_| limit.count(one, true, now).is_ok()));
        assert_eq!(limit.count(one, false, now), Err(1));
        assert_eq!(limit.count(one, false, now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn one_request_a_second_is_a_limit_too() {
        let (limit, now) = (limit(1), Instant::now());
        let one = credential("one");
        assert_eq!([limit.count(one, false, now), limit.count(one, false, now)], [Ok(()), Err(1)]);
    }

    /// An endless number of credentials must not use up the memory.
    #[test]
    fn few_credentials_are_remembered() {
        let (limit, now) = (limit(1), Instant::now());
        for number in 0..2 * MOST_REMEMBERED {
            let _ = limit.count(credential(&number.to_string()), false, now);
        }
        assert!(limit.used_until.lock().is_ok_and(|used| used.len() <= MOST_REMEMBERED));
    }

    #[test]
    fn what_frees_and_renews_is_known_by_its_route() {
        for (method, route, expected) in [
            ("POST", "/locks/{key}/heartbeat", true),
            ("POST", "/semaphores/{key}/release", true),
            ("UNLOCK", "/terraform/{key}", true),
            ("DELETE", "/terraform/{key}", true),
            ("LOCK", "/terraform/{key}", false),
            ("POST", "/locks/{key}/acquire", false),
            ("DELETE", "/locks/{key}", false),
            ("GET", "/locks/{key}", false),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
            assert_eq!(is_never_refused(route, &method), expected, "{method} {route}");
        }
    }
}
