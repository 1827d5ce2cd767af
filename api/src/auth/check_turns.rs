//! Turns at checking the signatures of JWTs.
//!
//! A check takes up to some milliseconds, since a token without a `kid` may be signed by each of several keys. Anybody can send tokens with
//! invented signatures. So one signature is checked at a time, on a thread that serves no requests, and clients take turns. Each second
//! check is for a token that was valid before, if there is one: the bearers of those do not wait for invented ones.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use db_locks_service::{Turns, Unavailable, domain::Tenant};
use tokio::sync::oneshot;

/// The number of waiting checks from which on clients with their share of them are refused.
const MOST_WAITING: usize = 1_024;
/// The number of waiting checks from which on tenants with their share of them are refused: more, since many runners may have begun in
/// the same moment.
const MOST_REMEMBERED: usize = 10_000;

/// Those who take turns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Party {
    /// The bearers of tokens that were valid when they were last checked and have not expired, by their tenant.
    Remembered(Option<Tenant>),
    /// Others, by the address of the client without what it can choose itself.
    Client(Option<IpAddr>),
}

/// Checks one after the other.
#[derive(Debug, Default)]
pub(super) struct CheckTurns(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Whether a check is under way.
    is_under_way: bool,
    /// Whether the last check was for a token that was valid before, unless none waited.
    is_for_remembered: bool,
    remembered: Turns<Option<Tenant>, Waiter>,
    clients: Turns<Option<IpAddr>, Waiter>,
}

type Waiter = oneshot::Sender<CheckTurn>;

/// The right to check a signature now. Dropping it passes the right on.
#[derive(Debug)]
pub(super) struct CheckTurn(Option<Arc<CheckTurns>>);

impl Waiting {
    fn push(&mut self, party: &Party, waiter: Waiter) -> Result<(), Unavailable> {
        match party {
            Party::Remembered(tenant) => push(&mut self.remembered, tenant, MOST_REMEMBERED, waiter),
            Party::Client(address) => push(&mut self.clients, address, MOST_WAITING, waiter),
        }
    }

    fn pop(&mut self) -> Option<Waiter> {
        self.is_for_remembered = !self.is_for_remembered;
        if self.is_for_remembered {
            self.remembered.pop().or_else(|| self.clients.pop())
        } else {
            self.clients.pop().or_else(|| self.remembered.pop())
        }
    }
}

fn push<P: Clone + Eq + Hash>(
    turns: &mut Turns<P, Waiter>,
    party: &P,
    most: usize,
    waiter: Waiter,
) -> Result<(), Unavailable> {
    if turns.is_full_for(party, most) {
        return Err(Unavailable::Overloaded);
    }
    turns.push_back(party, waiter);
    Ok(())
}

impl CheckTurns {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the party's turn.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] if too many checks wait, of which the party has its share.
    pub(super) async fn take(self: &Arc<Self>, party: Party) -> Result<CheckTurn, Unavailable> {
        let (sender, turn) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if !waiting.is_under_way {
                waiting.is_under_way = true;
                return Ok(CheckTurn(Some(Arc::clone(self))));
            }
            waiting.push(&party, sender)?;
        }
        // A turn is passed on until it is taken.
        turn.await.map_err(|_| Unavailable::ShuttingDown)
    }

    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut waiting = self.waiting();
                let next = waiting.pop();
                waiting.is_under_way = next.is_some();
                next
            };
            let Some(next) = next else { return };
            match next.send(CheckTurn(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // The client has gone. The turn that came back must not be passed on once more.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

impl Drop for CheckTurn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn client(number: u8) -> Party {
        Party::Client(Some([192, 0, 2, number].into()))
    }

    /// Lets this party wait for its turn. Then `name` is sent.
    async fn wait(turns: &Arc<CheckTurns>, party: Party, name: usize, done: &mpsc::Sender<usize>) {
        let (own, done) = (Arc::clone(turns), done.clone());
        tokio::spawn(async move {
            if let Ok(_turn) = own.take(party).await {
                done.send(name).unwrap();
            }
        });
        tokio::task::yield_now().await;
    }

    /// The names of all who waited, in the order of their turns.
    async fn all(turns: &Arc<CheckTurns>, order: &mpsc::Receiver<usize>) -> Vec<usize> {
        while Arc::strong_count(turns) > 1 {
            tokio::task::yield_now().await;
        }
        order.try_iter().collect()
    }

    /// Guards valid tokens against a client that sends invented ones, more than can be checked.
    #[tokio::test]
    async fn one_signature_is_checked_at_a_time_and_clients_take_turns() {
        let turns = Arc::new(CheckTurns::default());
        let first = turns.take(client(1)).await.unwrap();
        let (done, order) = mpsc::channel();
        for name in 0..MOST_WAITING {
            wait(&turns, client(1), name, &done).await;
        }
        assert_eq!(turns.take(client(1)).await.unwrap_err(), Unavailable::Overloaded);
        wait(&turns, client(2), 5_000, &done).await;
        assert!(order.try_recv().is_err(), "a check is under way");
        drop(first);
        let order = all(&turns, &order).await;
        assert_eq!((order.len(), &order[..4]), (MOST_WAITING + 1, &[0, 5_000, 1, 2][..]));
        turns.take(client(1)).await.unwrap();
    }

    /// Guards the heartbeats of a bearer against invented tokens from very many addresses, and against another tenant's valid ones.
    #[tokio::test]
    async fn each_second_check_is_for_a_token_that_was_valid_and_their_tenants_take_turns() {
        let turns = Arc::new(CheckTurns::default());
        let first = turns.take(client(0)).await.unwrap();
        let (done, order) = mpsc::channel();
        for number in 0..9 {
            wait(&turns, client(number), number.into(), &done).await;
        }
        for (tenant, name) in [("a", 100), ("a", 101), ("a", 102), ("b", 200)] {
            wait(&turns, Party::Remembered(Some(Tenant::new(tenant).unwrap())), name, &done).await;
        }
        drop(first);
        let order = all(&turns, &order).await;
        assert_eq!(order, [100, 0, 200, 1, 101, 2, 102, 3, 4, 5, 6, 7, 8]);
    }

    #[tokio::test]
    async fn clients_that_have_gone_take_no_turn() {
        let turns = Arc::new(CheckTurns::default());
        let first = turns.take(client(1)).await.unwrap();
        for _ in 0..2 {
            let waiting = tokio::spawn({
                let turns = Arc::clone(&turns);
                async move { turns.take(client(1)).await.map(drop) }
            });
            tokio::task::yield_now().await;
            waiting.abort();
            assert!(waiting.await.is_err());
        }
        let (done, order) = mpsc::channel();
        wait(&turns, client(1), 7, &done).await;
        drop(first);
        tokio::task::yield_now().await;
        assert_eq!(order.try_recv(), Ok(7));
    }
}
