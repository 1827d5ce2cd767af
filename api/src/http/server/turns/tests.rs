//! Turns on a thread whose time is the number of requests that it has answered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bytes;
mod connection;

use std::{
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::{future::join_all, task::noop_waker_ref};
use tokio::task::{JoinHandle, yield_now};

use super::{line::SHORT, *};

/// The requests of each busy client that come at once.
const MANY: usize = 100;
const BUSY_CLIENTS: usize = 200;
/// The clients with few requests at once.
const CLIENTS: usize = 4_000;

/// A thread whose time is the number of requests that it has answered.
#[derive(Clone)]
struct Thread {
    turns: Turns,
    answered: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    /// How often a connection had to wait for its turn.
    waits: Arc<AtomicUsize>,
}

impl Thread {
    fn new() -> Self {
        Self {
            turns: Turns::new(1),
            answered: Arc::default(),
            is_over: Arc::default(),
            waits: Arc::default(),
        }
    }

    fn now(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// A connection whose client has this number of requests under way all the time. Returns the number of answers.
    fn flood(&self, requests: usize) -> JoinHandle<usize> {
        let this = self.clone();
        tokio::spawn(async move {
            let mut busy = Busy::new(this.turns.clone(), Work::default());
            let mut answered = 0;
            while !this.is_over.load(Ordering::Relaxed) {
                let mut turn = poll_fn(|cx| {
                    let turn = busy.poll_turn(cx);
                    this.waits.fetch_add(usize::from(turn.is_pending()), Ordering::Relaxed);
                    turn
                })
                .await;
                let admitted = turn.admit(requests);
                this.answered.fetch_add(admitted, Ordering::Relaxed);
                answered += admitted;
                busy.end(turn, admitted < requests);
                if admitted == requests {
                    // The client sends as many again.
                    yield_now().await;
                }
            }
            answered
        })
    }
}

/// Runs clients, each of them with a number of requests at once. Returns the most requests that were answered while another task waited,
/// and the number of answers of each client.
async fn flood(clients: impl IntoIterator<Item = usize>) -> (usize, Vec<usize>) {
    let thread = Thread::new();
    let clients = clients.into_iter().map(|requests| thread.flood(requests)).collect();
    watch(thread, clients).await
}

/// Lets these clients run for a while.
async fn watch(thread: Thread, clients: Vec<JoinHandle<usize>>) -> (usize, Vec<usize>) {
    let watcher = thread.clone();
    // Like a task that waits for its socket.
    let longest = tokio::spawn(async move {
        let mut longest = 0;
        for _ in 0..1_000 {
            let before = watcher.now();
            yield_now().await;
            longest = longest.max(watcher.now() - before);
        }
        watcher.is_over.store(true, Ordering::Relaxed);
        longest
    });
    let longest = longest.await.unwrap();
    (longest, join_all(clients).await.into_iter().map(Result::unwrap).collect())
}

fn assert_fair(answered: &[usize], difference: usize) {
    let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
    assert!(*least > 0 && most - least <= difference, "connections take turns: {answered:?}");
}

fn poll(busy: &mut Busy) -> Poll<Turn> {
    busy.poll_turn(&mut Context::from_waker(noop_waker_ref()))
}

#[tokio::test]
async fn another_task_of_a_single_thread_waits_for_a_few_turns_only() {
    let (longest, answered) = flood([MANY; BUSY_CLIENTS]).await;
    assert!(longest <= 4 * MANY, "{longest} requests were answered meanwhile");
    assert_fair(&answered, 2 * MANY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_task_of_a_pool_of_threads_waits_for_a_few_turns_only() {
    let (longest, _) = flood([MANY; BUSY_CLIENTS]).await;
    assert!(longest <= 4 * MANY, "{longest} requests were answered meanwhile");
}

#[tokio::test]
async fn another_task_of_a_single_thread_does_not_wait_for_all_connections_with_few_requests() {
    for requests in [1, FEW] {
        let (longest, answered) = flood(vec![requests; CLIENTS]).await;
        assert!(longest <= 2 * SHORT, "{longest} requests were answered meanwhile");
        assert_fair(&answered, 8 * FEW);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_task_of_a_pool_of_threads_does_not_wait_for_all_connections_with_few_requests() {
    for requests in [1, FEW] {
        let (longest, _) = flood(vec![requests; CLIENTS]).await;
        assert!(longest <= 2 * SHORT, "{longest} requests were answered meanwhile");
    }
}

#[tokio::test]
async fn connections_with_few_requests_do_not_wait_for_all_busy_ones() {
    let (_, answered) = flood([MANY; BUSY_CLIENTS].into_iter().chain(vec![1; CLIENTS])).await;
    let (busy, few) = answered.split_at(BUSY_CLIENTS);
    assert_fair(few, 8);
    let [busy, few] = [busy, few].map(|answered| answered.iter().sum::<usize>());
    assert!(few > busy / 8, "{few} requests of connections with few of them, {busy} of busy ones");
}

#[tokio::test]
async fn who_sends_one_request_after_another_waits_for_nobody() {
    let thread = Thread::new();
    let clients: Vec<_> = (0..128).map(|_| thread.flood(1)).collect();
    while thread.now() < 100_000 {
        yield_now().await;
    }
    thread.is_over.store(true, Ordering::Relaxed);
    join_all(clients).await;
    assert_eq!(thread.waits.load(Ordering::Relaxed), 0);
}

/// Guards that a heartbeat does not wait for a whole round of a flood.
#[tokio::test]
async fn a_connection_with_a_request_now_and_then_waits_for_a_few_turns_only() {
    let thread = Thread::new();
    let clients: Vec<_> = (0..CLIENTS).map(|_| thread.flood(FEW)).collect();
    let mut busy = Busy::new(thread.turns.clone(), Work::default());
    let mut longest = 0;
    for heartbeat in 1..10 {
        while thread.now() < heartbeat * 2 * FEW * CLIENTS {
            yield_now().await;
        }
        // The request and its answer.
        for requests in [1, 0] {
            let before = thread.now();
            let mut turn = poll_fn(|cx| busy.poll_turn(cx)).await;
            turn.admit(requests);
            busy.end(turn, false);
            longest = longest.max(thread.now() - before);
            while thread.now() < before + 3 * FEW * CLIENTS / 2 {
                yield_now().await;
            }
        }
    }
    thread.is_over.store(true, Ordering::Relaxed);
    join_all(clients).await;
    assert!(longest <= 2 * SHORT, "{longest} requests were answered meanwhile");
}
