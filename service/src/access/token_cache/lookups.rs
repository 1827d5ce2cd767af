//! Lookups that wait for a query. Those who ask take turns.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use crate::{
    SeededMap, SeededSet,
    access::{Identity, SecretHash},
    turns::Turns,
    unavailable::Unavailable,
};

/// The answer of a lookup: the bearer of the token, if there is such a token.
pub(super) type Answer = Result<Option<Arc<Identity>>, Unavailable>;

/// The lookups of parties, such as tenants.
#[derive(Debug)]
pub(super) struct Lookups<P> {
    waiting: Mutex<Waiting<P>>,
    /// Wakes the task that asks the database.
    added: Notify,
    /// The number of waiting callers from which on a party with its share of them is refused.
    most: usize,
}

#[derive(Debug)]
struct Waiting<P> {
    /// The hashes that are asked for. Some of them were asked for by callers that have gone.
    turns: Turns<P, SecretHash>,
    /// The callers without an answer, also while the query for their hash is under way.
    callers: SeededMap<SecretHash, Vec<oneshot::Sender<Answer>>>,
}

impl<P: Clone + Eq + Hash> Lookups<P> {
    /// No lookups, of which about `most` may wait.
    pub(super) fn new(most: usize) -> Self {
        let waiting = Waiting { turns: Turns::default(), callers: SeededMap::default() };
        Self { waiting: Mutex::new(waiting), added: Notify::new(), most }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<P>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answer about a hash that a party asks for. Callers that ask for the same hash share the answer.
    ///
    /// # Errors
    /// The error of the query; or [`Unavailable::Overloaded`] if too many wait, and the party has its share of them.
    pub(super) async fn look_up(&self, party: &P, hash: SecretHash) -> Answer {
        let (caller, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if let Some(others) = waiting.callers.get_mut(&hash) {
                others.push(caller);
            } else {
                if waiting.turns.is_full_for(party, self.most) {
                    return Err(Unavailable::Overloaded);
                }
                waiting.turns.push_back(party, hash);
                waiting.callers.insert(hash, vec![caller]);
            }
        }
        self.added.notify_one();
        // The task ends only with the process.
        answered.await.unwrap_or(Err(Unavailable::ShuttingDown))
    }

    /// Waits until there is a lookup.
    pub(super) async fn wait(&self) {
        while self.waiting().turns.is_empty() {
            self.added.notified().await;
        }
    }

    /// Takes the hashes for a query, at most so many, from the parties in turn. A hash counts once, and not at all if nobody
    /// waits for it any more.
    pub(super) fn take(&self, most: usize) -> Vec<SecretHash> {
        let mut waiting = self.waiting();
        let Waiting { turns, callers } = &mut *waiting;
        let mut hashes = SeededSet::default();
        while hashes.len() < most
            && let Some(hash) = turns.pop()
        {
            // It may be there twice, if those who asked for it first had gone before.
            if hashes.contains(&hash) {
                continue;
            }
            let Some(of_hash) = callers.get_mut(&hash) else { continue };
            of_hash.retain(|caller| !caller.is_closed());
            if of_hash.is_empty() {
                callers.remove(&hash);
            } else {
                hashes.insert(hash);
            }
        }
        hashes.into_iter().collect()
    }

    /// Answers all callers that wait for a hash, also those that came while the query was under way.
    pub(super) fn answer(&self, hash: &SecretHash, answer: &Answer) {
        let callers = self.waiting().callers.remove(hash);
        for caller in callers.into_iter().flatten() {
            // The receiver is gone if the caller gave up waiting.
            let _ = caller.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use futures_util::task::noop_waker_ref;

    use super::*;

    #[tokio::test]
    async fn callers_that_share_a_lookup_are_not_refused() {
        let lookups = Lookups::new(1);
        let [one, other] = [&b"one"[..], b"other"].map(SecretHash::of);
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut callers = [one, one, other].map(|hash| Box::pin(lookups.look_up(&"party", hash)));
        let polled = callers.each_mut().map(|caller| caller.as_mut().poll(&mut cx));
        let refused = Poll::Ready(Err(Unavailable::Overloaded));
        assert_eq!(polled, [Poll::Pending, Poll::Pending, refused]);
        assert_eq!(lookups.take(9), [one]);
        lookups.answer(&one, &Ok(None));
        for caller in &mut callers[..2] {
            assert_eq!(caller.as_mut().poll(&mut cx), Poll::Ready(Ok(None)));
        }
    }
}
