//! Waiters that leave: by their time limit, with their connection, or after their grant.

use super::{give_back, leave};
use crate::domain::{
    Acquire, Command, LeaveReason, Refusal, Reply, RequestId, Verdict,
    tests::fixtures::{Scene, beat, data, release, v, wait, wait_chosen},
};

#[test]
fn a_detached_waiter_is_skipped_and_keeps_its_place_for_ten_seconds() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.waits(wait(3));
    scene.run(&leave(2, LeaveReason::HungUp));
    scene.release(1);
    assert_eq!((scene.served(), scene.state.queue.len), (vec![3], 1));
    scene.now += 9_999;
    scene.run(&Command::ServeQueue);
    assert_eq!(scene.state.queue.len, 1);
    scene.now += 1;
    scene.run(&Command::ServeQueue);
    assert_eq!(scene.state.queue.len, 0);
}

/// Guards that one write does not remove megabytes, which the writes of other keys would wait for.
#[test]
fn kept_places_with_much_data_are_removed_in_parts() {
    let mut scene = Scene::held();
    let large = data(&"x".repeat(32_000));
    for number in 2..12 {
        scene.waits(Acquire { data: Some(large.clone()), ..wait_chosen(number) });
        scene.run(&leave(number, LeaveReason::HungUp));
    }
    scene.now += 10_000;
    let left = [(); 3].map(|()| {
        scene.run(&Command::ServeQueue);
        scene.state.queue.len
    });
    assert_eq!(left, [5, 0, 0]);
}

/// Invariant 7.
#[test]
fn a_waiter_that_times_out_leaves_the_queue_and_is_answered_its_position() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.waits(wait(3));
    let Refusal::NotGranted(refused) = scene.refused(&leave(3, LeaveReason::TimedOut)) else {
        panic!("refused otherwise")
    };
    assert_eq!((refused.queue_position, refused.waiters), (Some(2), 1));
    scene.run(&leave(2, LeaveReason::TimedOut));
    assert_eq!(scene.state.queue.len, 0);
}

/// Invariant 6.
#[test]
fn a_waiter_that_times_out_is_granted_a_free_lock_if_it_is_its_turn() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    scene.waits(wait(3));
    scene.now += 1_000;
    let reply = scene.reply(&leave(2, LeaveReason::TimedOut));
    assert!(matches!(reply, Reply::Granted(_)), "{reply:?}");
    assert_eq!(scene.effects.0, [], "the waiter is answered once");
    let refusal = scene.refused(&leave(3, LeaveReason::TimedOut));
    assert!(matches!(refusal, Refusal::NotGranted(refused) if refused.holders.len() == 1), "2 holds");
}

/// Invariant 7.
#[test]
fn a_waiter_that_leaves_after_its_grant_is_answered_with_that_grant() {
    for reason in [LeaveReason::TimedOut, LeaveReason::HungUp, LeaveReason::Evicted, LeaveReason::Missing] {
        let mut scene = Scene::held();
        scene.waits(wait(2));
        scene.release(1);
        let reply = scene.reply(&leave(2, reason));
        assert!(matches!(reply, Reply::Granted(_)), "{reason:?}: {reply:?}");
    }
}

/// Invariant 7: a second answer would reach nobody, and its grant would be given back.
#[test]
fn a_waiter_that_is_served_and_leaves_in_one_decision_is_answered_once() {
    for reason in [LeaveReason::TimedOut, LeaveReason::HungUp, LeaveReason::Evicted, LeaveReason::Missing] {
        let mut scene = Scene::held();
        scene.waits(wait(2));
        let (released, mut change) = scene.decide(&release(1));
        assert!(released.is_ok());
        let left = change.decide(&leave(2, reason), &scene.context());
        assert!(matches!(left, Ok(Verdict::Reply(Reply::Granted(_)))), "{reason:?}: {left:?}");
        assert!(change.effects.answered.is_empty(), "{reason:?}: {:?}", change.effects.answered);
    }
}

/// Invariant 7: an earlier command of the same decision has served a request that the engine retries.
#[test]
fn a_waiter_that_is_served_and_retried_in_one_decision_is_answered_once() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    let (released, mut change) = scene.decide(&release(1));
    assert!(released.is_ok());
    let again = Command::Acquire(Acquire { retried: true, ..wait(2) });
    let asked = change.decide(&again, &scene.context());
    assert!(matches!(asked, Ok(Verdict::Reply(Reply::Granted(_)))), "{asked:?}");
    assert!(change.effects.answered.is_empty());
}

/// Invariant 7.
#[test]
fn a_grant_is_given_back_only_by_its_own_request() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    scene.run(&give_back(v(1), 99));
    assert_eq!(scene.holder(), Some(v(1)), "a late clean-up of another connection");
    scene.run(&give_back(v(1), 1));
    assert_eq!((scene.served(), scene.holder()), (vec![2], Some(v(2))));
    scene.run(&Command::Heartbeat(beat(2)));
    scene.run(&give_back(v(2), 2));
    assert_eq!(scene.holder(), Some(v(2)), "its caller received the answer, since it has renewed the lease");
}

#[test]
fn a_late_clean_up_of_the_first_connection_leaves_the_second_alone() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.waits(Acquire { request_id: RequestId(22), ..wait_chosen(2) });
    assert_eq!(scene.refused(&leave(2, LeaveReason::HungUp)), Refusal::Superseded);
    scene.run(&give_back(v(2), 2));
    assert_eq!(scene.state.queue.len, 1);
    scene.run(&give_back(v(2), 22));
    assert_eq!(scene.state.queue.len, 0);
}
