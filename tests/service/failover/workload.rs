//! Callers that keep working while the database fails over, and their answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Answer, Client, SOON, eventually};

/// The pause of a caller after each round, so that it leaves processor time to others.
const REST: Duration = Duration::from_millis(5);
/// The numbers of grants and of holds without which a lost one could go unnoticed.
const ENOUGH: (usize, usize) = (50, 20);

/// Callers with keys of their own, and callers that compete for one.
pub(crate) struct Workload {
    progress: Arc<Progress>,
    alone: Vec<JoinHandle<Vec<Grant>>>,
    competing: Vec<JoinHandle<Vec<Hold>>>,
}

/// What the callers have done so far, and whether they are to stop.
#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    grants: AtomicUsize,
    holds: AtomicUsize,
}

/// A grant that was answered, and whether its release was answered too.
struct Grant {
    key: String,
    version: String,
    token: i64,
    released: bool,
    answered: Instant,
}

/// The time from the answer of a grant until its release was sent.
struct Hold {
    token: i64,
    from: Instant,
    until: Instant,
}

/// The answers to all callers.
pub(crate) struct Answers {
    grants: Vec<Grant>,
    holds: Vec<Hold>,
}

impl Workload {
    /// Starts three callers of each kind at each of these replicas.
    pub(crate) fn start(replicas: &[Client]) -> Self {
        let progress = Arc::<Progress>::default();
        let callers = || (0..3).flat_map(|number| replicas.iter().map(move |svc| (number, svc.clone())));
        let alone = callers().map(|(number, svc)| tokio::spawn(take_new_keys(svc, number, progress.clone())));
        let alone = alone.collect();
        let competing = callers().map(|(_, svc)| tokio::spawn(compete(svc, progress.clone()))).collect();
        Self { progress, alone, competing }
    }

    /// Ends the callers once enough has been answered.
    pub(crate) async fn end(self) -> Answers {
        let enough = async || self.progress.is_enough().then_some(());
        eventually("enough is answered", SOON, enough).await;
        self.progress.stop.store(true, Ordering::Relaxed);
        let mut answers = Answers { grants: Vec::new(), holds: Vec::new() };
        for caller in self.alone {
            answers.grants.extend(caller.await.unwrap());
        }
        for caller in self.competing {
            answers.holds.extend(caller.await.unwrap());
        }
        answers
    }
}

impl Progress {
    fn is_enough(&self) -> bool {
        self.grants.load(Ordering::Relaxed) > ENOUGH.0 && self.holds.load(Ordering::Relaxed) > ENOUGH.1
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Answers {
    /// The time from this moment to the first answered grant.
    pub(crate) fn first_grant_after(&self, moment: Instant) -> Duration {
        let answered = self.grants.iter().map(|grant| grant.answered).filter(|answered| *answered > moment);
        answered.min().map(|first| first - moment).unwrap()
    }

    /// Checks that no answered grant is lost, and that none was granted twice.
    pub(crate) async fn check(mut self, svc: &Client) {
        for grant in &self.grants {
            let shown = served(async || svc.lock(&grant.key).await).await;
            assert_eq!(shown.body["fencing_token"], grant.token, "{}: {}", grant.key, shown.text);
            if grant.released {
                shown.unheld(200);
            } else {
                assert_eq!(shown.body["version"], grant.version, "{}", shown.text);
            }
        }
        self.holds.sort_by_key(|hold| hold.from);
        for pair in self.holds.windows(2) {
            let (one, next) = (&pair[0], &pair[1]);
            assert!(next.token > one.token, "{} was granted after {}", next.token, one.token);
            assert!(next.from >= one.until, "{} was granted while {} was held", next.token, one.token);
        }
    }
}

/// Sends a request again until the database answers: a cluster whose nodes are slow may change once more.
pub(crate) async fn served(mut send: impl AsyncFnMut() -> Answer) -> Answer {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = send().await;
        if answer.status != 503 || Instant::now() > deadline {
            return answer;
        }
        tokio::time::sleep(REST).await;
    }
}

async fn take_new_keys(svc: Client, number: usize, progress: Arc<Progress>) -> Vec<Grant> {
    let mut grants = Vec::new();
    for count in 0.. {
        if progress.is_over() {
            break;
        }
        let key = format!("own-{}-{number}-{count}", svc.port());
        let answer = svc.acquire(&key, json!({"wait_ms": 0, "lease_duration_ms": 3_600_000})).await;
        if answer.status == 503 {
            tokio::time::sleep(REST).await;
            continue;
        }
        let grant = answer.grant();
        let (version, token, answered) = (grant.version, grant.token, Instant::now());
        let is_to_go = count % 2 == 1;
        let released = is_to_go && released(&svc, &key, &version).await;
        if released == is_to_go {
            grants.push(Grant { key, version, token, released, answered });
            progress.grants.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(REST).await;
    }
    grants
}

async fn released(svc: &Client, key: &str, version: &str) -> bool {
    svc.release(key, version).await.status == 200
}

async fn compete(svc: Client, progress: Arc<Progress>) -> Vec<Hold> {
    let mut holds = Vec::new();
    while !progress.is_over() {
        let answer = svc.acquire("hot", json!({"wait_ms": 50_000, "lease_duration_ms": 60_000})).await;
        if answer.status == 503 {
            tokio::time::sleep(REST).await;
            continue;
        }
        let (grant, from) = (answer.grant(), Instant::now());
        tokio::time::sleep(Duration::from_millis(2)).await;
        holds.push(Hold { token: grant.token, from, until: Instant::now() });
        progress.holds.fetch_add(1, Ordering::Relaxed);
        while svc.release("hot", &grant.version).await.status == 503 {
            // The release may have been carried out, and another caller may have the lock by now.
            tokio::time::sleep(REST).await;
        }
    }
    holds
}
