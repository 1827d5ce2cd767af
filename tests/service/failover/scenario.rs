//! The scenario of every failover: two replicas, callers and a queue; then the primary is lost and the standby
//! promoted.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    pair::Pair,
    workload::{Workload, served},
};
use crate::support::{Answer, Client, Grant, SOON, Service, eventually};

/// The longest time from the promotion of the standby until writes work again.
const WRITES_BACK: Duration = Duration::from_secs(3);
/// The number of waiters in the queue.
const WAITERS: i64 = 4;

/// How the primary is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The primary is killed.
    Killed,
    /// The primary is stopped, and its connections stay open.
    Hung,
}

/// Two replicas of the service, their callers and their queue.
pub(crate) struct Scenario {
    pub(crate) replicas: [Service; 2],
    pub(crate) clients: [Client; 2],
    held: Grant,
    waiting: Vec<JoinHandle<Answer>>,
    workload: Workload,
}

impl Scenario {
    /// Starts both replicas on a database, a queue over both, and callers.
    pub(crate) async fn start(url: &str) -> Self {
        let replicas = [Service::start(url).await, Service::start(url).await];
        let first = replicas[0].client();
        let clients = [first.clone(), first.at(replicas[1].port())];
        let held = first.acquire("queue", json!({"lease_duration_ms": 600_000})).await.grant();
        let mut waiting = Vec::new();
        for place in 1..=WAITERS {
            let ask = json!({"wait_ms": 50_000, "lease_duration_ms": 60_000});
            waiting.push(clients[usize::from(place % 2 == 0)].queue_up("queue", ask, place).await);
        }
        let workload = Workload::start(&clients);
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self { replicas, clients, held, waiting, workload }
    }

    /// Loses the primary and promotes the standby; `lead` then leads the callers to it. Returns the time when the
    /// standby was promoted.
    pub(crate) async fn fail_over(&self, pair: &mut Pair, loss: Loss, lead: impl FnOnce(&Pair)) -> Instant {
        match loss {
            Loss::Killed => pair.primary.kill(),
            Loss::Hung => pair.primary.signal("STOP"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        pair.promote().await;
        let promoted = Instant::now();
        lead(pair);
        self.until_writes_are_back().await;
        promoted
    }

    /// Waits until both replicas write again, and a moment longer.
    pub(crate) async fn until_writes_are_back(&self) {
        for svc in &self.clients {
            let ask = json!({"wait_ms": 0, "lease_duration_ms": 60_000});
            let back = async || (svc.acquire("again", ask.clone()).await.status != 503).then_some(());
            eventually("writes are back", SOON, back).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// Checks that no answered grant is lost or granted twice, that no place in the queue is lost, and that writes were
    /// back in time.
    pub(crate) async fn check(self, what: &str, promoted: Instant) {
        self.check_within(WRITES_BACK, &format!("{what}, from the promotion of the standby"), promoted).await;
    }

    /// The same, with another time `within` which writes have to be back.
    pub(crate) async fn check_within(self, within: Duration, what: &str, since: Instant) {
        let Self { replicas: _replicas, clients: [first, _], held, waiting, workload } = self;
        let answers = workload.end().await;
        let back = answers.first_grant_after(since);
        eprintln!("{what}: writes were back after {} ms", back.as_millis());
        assert!(back < within, "{back:?}");
        answers.check(&first).await;
        assert_eq!(served(async || first.lock("queue").await).await.body["waiters"], WAITERS);
        let (mut last, mut version) = (held.token, held.version);
        for task in waiting {
            let mut tries = 0;
            let released = served(async || {
                tries += 1;
                first.release("queue", &version).await
            });
            let released = released.await;
            // A release that was answered 503 may have been carried out.
            if tries == 1 || released.status != 409 {
                released.unheld(200);
            }
            let grant = task.await.unwrap().grant();
            assert!(grant.token > last, "in order");
            (last, version) = (grant.token, grant.version);
        }
    }
}
