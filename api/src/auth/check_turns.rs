//! Turns at checking the signatures of JWTs.
//!
//! A check takes up to 1.5 ms, since a token without a `kid` is compared with up to four keys. Anybody can send tokens with
//! invented signatures. So one signature is checked at a time, on a thread that serves no requests, and clients take turns. Each second
//! check is for a token that was valid before, if there is one: the bearers of those do not wait for invented ones. Each second one of the
//! others is for an address from which a valid token came last. A tenant's new tokens often come from the addresses of its earlier ones.

use std::{collections::VecDeque, net::IpAddr};

use db_locks_service::{Line, Lines, OneAtATime, SeededMap, Unavailable, Waiter, domain::Tenant};

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
    /// Clients whose tokens are not known, at an address from which a valid token of this tenant came last.
    Known(Option<Tenant>, IpAddr),
    /// Others, by the address of the client without what it can choose itself.
    Client(Option<IpAddr>),
}

/// Checks one after the other.
pub(super) type CheckTurns = OneAtATime<CheckLines>;

/// The checks that wait.
#[derive(Debug)]
pub(super) struct CheckLines {
    /// The number of checks, and of those that took a token that is not known.
    checks: usize,
    new: usize,
    remembered: Line<Option<Tenant>>,
    known: KnownAddresses,
    clients: Line<Option<IpAddr>>,
}

impl Default for CheckLines {
    fn default() -> Self {
        let (remembered, clients) = (Line::new(MOST_REMEMBERED), Line::new(MOST_WAITING));
        Self { checks: 0, new: 0, remembered, known: KnownAddresses::default(), clients }
    }
}

impl Lines for CheckLines {
    type Party = Party;

    fn push(&mut self, party: &Party, waiter: Waiter) -> Result<(), Unavailable> {
        match party {
            Party::Remembered(tenant) => self.remembered.push(tenant, waiter),
            Party::Known(tenant, address) => self.known.push(tenant.clone(), *address, waiter),
            Party::Client(address) => self.clients.push(address, waiter),
        }
    }

    fn pop(&mut self) -> Option<Waiter> {
        self.checks = self.checks.wrapping_add(1);
        let remembered = if self.checks % 2 == 1 { self.remembered.pop() } else { None };
        remembered.or_else(|| self.pop_new()).or_else(|| self.remembered.pop())
    }
}

impl CheckLines {
    /// Takes one who waits for the check of a token that is not known.
    fn pop_new(&mut self) -> Option<Waiter> {
        self.new = self.new.wrapping_add(1);
        let Self { new, known, clients, .. } = self;
        if *new % 2 == 1 {
            known.pop().or_else(|| clients.pop())
        } else {
            clients.pop().or_else(|| known.pop())
        }
    }
}

/// The checks for addresses of tenants. Tenants take turns, and each one's addresses too: somebody else may be at one of them.
#[derive(Debug, Default)]
struct KnownAddresses {
    lines: SeededMap<Option<Tenant>, Line<IpAddr>>,
    /// The tenants with lines, in the order of their turns.
    order: VecDeque<Option<Tenant>>,
}

impl KnownAddresses {
    fn push(&mut self, tenant: Option<Tenant>, address: IpAddr, waiter: Waiter) -> Result<(), Unavailable> {
        let line = self.lines.entry(tenant.clone()).or_insert_with(|| {
            self.order.push_back(tenant);
            Line::new(MOST_WAITING)
        });
        line.push(&address, waiter)
    }

    fn pop(&mut self) -> Option<Waiter> {
        while let Some(tenant) = self.order.pop_front() {
            if let Some(waiter) = self.lines.get_mut(&tenant).and_then(Line::pop) {
                self.order.push_back(tenant);
                return Some(waiter);
            }
            self.lines.remove(&tenant);
        }
        None
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    fn client(number: u8) -> Party {
        Party::Client(Some([192, 0, 2, number].into()))
    }

    /// Lets this party wait for its turn. Then `name` is sent.
    async fn wait(turns: &Arc<CheckTurns>, party: Party, name: usize, done: &mpsc::Sender<usize>) {
        let (own, done) = (Arc::clone(turns), done.clone());
        tokio::spawn(async move {
            if let Ok(_turn) = own.take(&party).await {
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
        let first = turns.take(&client(1)).await.unwrap();
        let (done, order) = mpsc::channel();
        for name in 0..MOST_WAITING {
            wait(&turns, client(1), name, &done).await;
        }
        assert_eq!(turns.take(&client(1)).await.unwrap_err(), Unavailable::Overloaded);
        wait(&turns, client(2), 5_000, &done).await;
        assert!(order.try_recv().is_err(), "a check is under way");
        drop(first);
        let order = all(&turns, &order).await;
        assert_eq!((order.len(), &order[..4]), (MOST_WAITING + 1, &[0, 5_000, 1, 2][..]));
        turns.take(&client(1)).await.unwrap();
    }

    /// Guards the heartbeats of a bearer against invented tokens from very many addresses, and against another tenant's valid ones.
    #[tokio::test]
    async fn each_second_check_is_for_a_token_that_was_valid_and_their_tenants_take_turns() {
        let turns = Arc::new(CheckTurns::default());
        let first = turns.take(&client(0)).await.unwrap();
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

    /// Each job of a CI system has a new token. Its first use must not wait for invented tokens from very many addresses, nor for those of
    /// another tenant, nor for those of somebody at another address of its own.
    #[tokio::test]
    async fn each_second_new_token_is_of_an_address_of_a_tenant_and_tenants_and_their_addresses_take_turns() {
        let turns = Arc::new(CheckTurns::default());
        let first = turns.take(&client(0)).await.unwrap();
        let (done, order) = mpsc::channel();
        for number in 0..6 {
            wait(&turns, client(number), number.into(), &done).await;
        }
        for (tenant, host, name) in [("a", 1, 100), ("a", 1, 101), ("b", 2, 200), ("a", 3, 130)] {
            let party = Party::Known(Some(Tenant::new(tenant).unwrap()), [192, 0, 2, host].into());
            wait(&turns, party, name, &done).await;
        }
        drop(first);
        assert_eq!(all(&turns, &order).await, [100, 0, 200, 1, 130, 2, 101, 3, 4, 5]);
        assert!(turns.take(&client(0)).await.is_ok());
    }
}
