//! Releases grants, with retries.

use std::time::Duration;

use crate::{
    clock::LeaseInstant,
    error::{LockError, LockResult},
    random,
};

/// The time limit for a release and its retries.
const LONGEST_RELEASE: Duration = Duration::from_secs(10);
/// The minimum time for a release, even if the lease ends before.
const SHORTEST_RELEASE: Duration = Duration::from_secs(1);
/// The number of attempts to release what may have been granted to a caller that has gone.
pub(crate) const UNSEEN_TRIES: u32 = 4;
/// The pause between two attempts.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// Releases a grant. Repeats the call while the service is unavailable, and up to `tries` times in all if it refuses.
pub(crate) async fn release<F: Future<Output = LockResult<()>>>(
    call: impl Fn() -> F,
    until: LeaseInstant,
    mut tries: u32,
) -> LockResult<()> {
    let until = until.min(LeaseInstant::now().plus(LONGEST_RELEASE));
    loop {
        let time = until.remaining().max(SHORTEST_RELEASE);
        let answer = tokio::time::timeout(time, call()).await;
        let answer = answer.unwrap_or_else(|_| Err(LockError::Unreachable("no answer in time".to_owned())));
        let is_tried_again = match &answer {
            Ok(()) => false,
            Err(error) if error.retryable() => !until.remaining().is_zero(),
            Err(_) => {
                tries -= 1;
                tries > 0
            }
        };
        if !is_tried_again {
            return absent_is_released(answer);
        }
        tokio::time::sleep(random::jitter(RELEASE_PAUSE)).await;
    }
}

/// Treats "not found" as released: a lock that was deleted is not held.
pub(crate) fn absent_is_released(answer: LockResult<()>) -> LockResult<()> {
    match answer {
        Err(LockError::NotFound(_)) => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Releases a grant at a service whose first answers are refusals. Returns the result and the number of calls.
    async fn released(refusals: u32, tries: u32) -> (LockResult<()>, u32) {
        let calls = Cell::new(0);
        let call = || {
            calls.set(calls.get() + 1);
            let is_granted = calls.get() > refusals;
            async move { if is_granted { Ok(()) } else { Err(LockError::Lost("not granted yet".to_owned())) } }
        };
        let answer = release(call, LeaseInstant::now().plus(LONGEST_RELEASE), tries).await;
        (answer, calls.get())
    }

    /// The service may grant the lock before it notices that the caller is gone.
    #[tokio::test]
    async fn what_is_granted_after_the_first_release_is_given_back() {
        let (answer, calls) = released(2, UNSEEN_TRIES).await;
        answer.unwrap();
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    async fn a_refused_release_ends() {
        assert!(matches!(released(u32::MAX, UNSEEN_TRIES).await, (Err(LockError::Lost(_)), UNSEEN_TRIES)));
        assert!(
            matches!(released(u32::MAX, 1).await, (Err(LockError::Lost(_)), 1)),
            "a holder hears of it at once"
        );
    }
}
