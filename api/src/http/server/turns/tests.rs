//! Turns on a thread whose time is the number of requests that it has answered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::{future::join_all, task::noop_waker_ref};
use tokio::task::JoinHandle;

use super::*;

/// The requests of each client that come at once.
const REQUESTS: usize = 100;
const CLIENTS: usize = 200;

/// A thread whose time is the number of requests that it has answered.
#[derive(Clone)]
struct Thread {
    turns: Turns,
    answered: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Thread {
    fn new() -> Self {
        Self { turns: Turns::new(1), answered: Arc::default(), is_over: Arc::default() }
    }

    fn now(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// A connection whose client has this number of requests under way all the time. Returns the number of answers.
    fn flood(&self, requests: usize) -> JoinHandle<usize> {
        let this = self.clone();
        tokio::spawn(async move {
            let mut busy = Busy::new(this.turns.clone());
            let mut answered = 0;
            while !this.is_over.load(Ordering::Relaxed) {
                let mut turn = poll_fn(|cx| busy.poll_turn(cx)).await;
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

/// Returns the number of answers on each connection.
async fn another_task_waits_for_a_few_turns_only() -> Vec<usize> {
    let thread = Thread::new();
    let clients: Vec<_> = (0..CLIENTS).map(|_| thread.flood(REQUESTS)).collect();
    let watcher = thread.clone();
    // Like a task that waits for its socket.
    let waits = tokio::spawn(async move {
        let mut waits = Vec::new();
        for _ in 0..1_000 {
            let before = watcher.now();
            yield_now().await;
            waits.push(watcher.now() - before);
        }
        watcher.is_over.store(true, Ordering::Relaxed);
        waits
    });
    let waits = waits.await.unwrap();
    let longest = waits.iter().max().unwrap();
    assert!(
        *longest <= 4 * REQUESTS,
        "{longest} requests were answered meanwhile, a round has {}",
        CLIENTS * REQUESTS
    );
    join_all(clients).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn another_task_of_a_single_thread_waits_for_a_few_turns_only() {
    let answered = another_task_waits_for_a_few_turns_only().await;
    let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
    assert!(*least > 0 && most - least <= 2 * REQUESTS, "busy connections take turns: {answered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_task_of_a_pool_of_threads_waits_for_a_few_turns_only() {
    another_task_waits_for_a_few_turns_only().await;
}

fn poll(busy: &mut Busy) -> Poll<Turn> {
    busy.poll_turn(&mut Context::from_waker(noop_waker_ref()))
}

#[tokio::test]
async fn a_connection_with_few_requests_at_once_waits_for_nobody() {
    let thread = Thread::new();
    let _turn = thread.turns.0.acquire().await.unwrap();
    let mut busy = Busy::new(thread.turns.clone());
    for _ in 0..100 {
        let Poll::Ready(mut turn) = poll(&mut busy) else { panic!("it waits") };
        assert_eq!((turn.admit(FEW), turn.admit(1)), (FEW, 0), "more wait for a turn");
        busy.end(turn, false);
    }
}

#[tokio::test]
async fn a_connection_is_busy_until_it_had_few_requests_for_a_while() {
    let mut busy = Busy::new(Thread::new().turns);
    let Poll::Ready(mut turn) = poll(&mut busy) else { panic!("it waits") };
    assert_eq!(turn.admit(FEW + 1), 0);
    busy.end(turn, true);
    let mut turn = poll_fn(|cx| busy.poll_turn(cx)).await;
    assert_eq!((turn.admit(FEW), turn.admit(MOST), turn.admit(1)), (FEW, MOST - FEW, 0));
    busy.end(turn, false);
    for _ in 0..BUSY_FOR {
        let mut turn = poll_fn(|cx| busy.poll_turn(cx)).await;
        turn.admit(1);
        busy.end(turn, false);
    }
    let _turn = busy.turns.0.clone().acquire_owned().await.unwrap();
    assert!(poll(&mut busy).is_ready());
}

#[tokio::test]
async fn a_connection_that_ends_gives_its_turn_to_the_next_one() {
    let thread = Thread::new();
    let turn = thread.turns.0.clone().acquire_owned().await.unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Busy { left: 1, ..Busy::new(thread.turns.clone()) });
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    drop(turn);
    assert!(poll(&mut second).is_pending(), "the first one has it");
    drop(first);
    poll_fn(|cx| second.poll_turn(cx)).await;
}
