use std::pin::Pin;

use futures_util::FutureExt;
use tokio::time::advance;

use super::*;
use crate::{
    apart::run_apart,
    store::classify::{Purpose, classify},
};

type Waiting = Pin<Box<dyn Future<Output = Result<Turn, StoreError>>>>;

/// Begins to wait in the line of a tenant.
fn wait(turns: &Arc<Turns>, name: &str) -> Waiting {
    let (turns, name) = (turns.clone(), Tenant::trusted(name));
    let mut waiting: Waiting = Box::pin(async move { turns.take(Some(name), Caller::default()).await });
    assert!(waiting.as_mut().now_or_never().is_none(), "its turn comes at once");
    waiting
}

/// Takes a turn that is free.
fn take(turns: &Arc<Turns>, name: &str) -> Turn {
    let turn = turns.take(Some(Tenant::trusted(name)), Caller::default()).now_or_never();
    turn.and_then(Result::ok).unwrap_or_else(|| panic!("{name} has to wait"))
}

/// The turn of a list that was woken.
fn woken(waiting: Waiting) -> Turn {
    waiting.now_or_never().and_then(Result::ok).unwrap_or_else(|| panic!("it still waits"))
}

#[tokio::test(start_paused = true)]
async fn one_connection_of_the_pool_is_left_to_others() {
    for (connections, lists) in [(1, 1), (2, 1), (3, 2), (20, 19)] {
        let turns = Turns::new(connections);
        let mut running = Vec::new();
        let next = |running: &[Turn]| {
            let tenant = Tenant::trusted(&running.len().to_string());
            turns.take(Some(tenant), Caller::default()).now_or_never()
        };
        while let Some(Ok(turn)) = next(&running) {
            running.push(turn);
        }
        assert_eq!(running.len(), lists, "of {connections} connections");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_waits_for_too_long_is_refused_as_overload() {
    let turns = Turns::new(2);
    let running = take(&turns, "a");
    let late = wait(&turns, "b");
    advance(WAIT).await;
    assert!(matches!(late.now_or_never(), Some(Err(StoreError::Overloaded(_)))));
    drop(running);
    drop(take(&turns, "c"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_dropped_while_it_waits_costs_nobody_a_turn() {
    let turns = Turns::new(2);
    for is_woken in [false, true] {
        let running = take(&turns, "a");
        let (dropped, next) = (wait(&turns, "b"), wait(&turns, "c"));
        if is_woken {
            drop(running);
            drop(dropped);
        } else {
            drop(dropped);
            drop(running);
        }
        drop(woken(next));
    }
    drop(take(&turns, "d"));
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_interrupted_for_other_tenants() {
    let turns = Turns::new(2);
    let mut long = take(&turns, "a");
    let other = wait(&turns, "b");
    assert!(matches!(long.let_others().now_or_never(), Some(Ok(()))), "its slice has not ended");
    advance(SLICE).await;
    let mut interrupted = Box::pin(long.let_others());
    assert!(interrupted.as_mut().now_or_never().is_none());
    let other = woken(other);
    assert!(interrupted.as_mut().now_or_never().is_none());
    drop(other);
    assert!(matches!(interrupted.now_or_never(), Some(Ok(()))));
    advance(SLICE).await;
    assert!(matches!(long.let_others().now_or_never(), Some(Ok(()))), "nobody waits");
    let waiting = wait(&turns, "b");
    drop(long);
    drop(woken(waiting));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_list_that_is_dropped_costs_nobody_a_turn() {
    let turns = Turns::new(2);
    for is_woken in [false, true] {
        let mut long = take(&turns, "a");
        let other = wait(&turns, "b");
        advance(SLICE).await;
        let mut interrupted = Box::pin(long.let_others());
        assert!(interrupted.as_mut().now_or_never().is_none());
        let other = woken(other);
        if is_woken {
            drop(other);
            drop(interrupted);
        } else {
            drop(interrupted);
            drop(other);
        }
        drop(long);
        drop(take(&turns, "c"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_ends_long_before_its_list_is_overload() {
    let turns = Turns::new(2);
    let mut long = take(&turns, "a");
    advance(PAGE_FOR / 2).await;
    assert!(!long.is_long());
    advance(PAGE_FOR / 2).await;
    assert!(long.is_long() && !long.is_very_long());
    advance(PAGE_FOR).await;
    assert!(long.is_very_long());
    assert!(matches!(long.let_others().now_or_never(), Some(Ok(()))));
}

/// The wait for others counts: an operation that takes longer than its limit counts as an outage of the database.
#[tokio::test(start_paused = true)]
async fn an_interrupted_list_waits_for_no_longer_than_a_list_runs() {
    let turns = Turns::new(2);
    let mut long = take(&turns, "a");
    let _other = wait(&turns, "b");
    advance(LONGEST.saturating_sub(SLICE)).await;
    let mut interrupted = Box::pin(long.let_others());
    assert!(interrupted.as_mut().now_or_never().is_none());
    advance(SLICE).await;
    assert!(matches!(interrupted.now_or_never(), Some(Err(_))));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_takes_too_long_ends_as_overload() {
    let turns = Turns::new(2);
    let mut long = take(&turns, "a");
    advance(LONGEST).await;
    let Some(Err(error)) = long.let_others().now_or_never() else { panic!("it goes on") };
    assert!(matches!(classify(error, Purpose::Read), StoreError::Overloaded(_)));
}

/// A caller that is slow to take its page does not delay others.
#[tokio::test(start_paused = true)]
async fn a_finished_page_takes_no_turn() {
    let turns = Turns::new(2);
    let running = take(&turns, "a");
    let (own, other) = (wait(&turns, "a"), wait(&turns, "b"));
    let finished = running.finish();
    drop(woken(other));
    drop(woken(own));
    drop(finished);
    drop(take(&turns, "a"));
}

/// Also while other lists run, so that its place is free at once.
#[tokio::test(start_paused = true)]
async fn a_list_whose_caller_has_gone_leaves_its_line() {
    let turns = Turns::new(2);
    let running = take(&turns, "a");
    let own = turns.clone();
    let mut gone =
        Box::pin(run_apart(
            |caller| async move { own.take(Some(Tenant::trusted("b")), caller).await.map(drop) },
        ));
    assert!(gone.as_mut().now_or_never().is_none());
    tokio::task::yield_now().await;
    drop(gone);
    tokio::task::yield_now().await;
    let next = wait(&turns, "c");
    drop(running);
    drop(woken(next));
}
