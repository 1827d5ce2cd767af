//! The queue: order, offers to other replicas, detached waiters, leaves, dead replicas, and a clock that steps back.

use super::fixtures::{
    ME, OTHER, START, Scene, ask, beat, data, key, reentrant, release, v, wait, wait_chosen,
};
use crate::domain::{
    Acquire, Command, KeyChange, LeaveReason, Need, Refusal, Reply, RequestId, Timestamp, Verdict, Version,
    WaiterData,
};

fn leave(n: u16, reason: LeaveReason) -> Command {
    Command::Leave { version: v(n.into()), request_id: RequestId(n.into()), reason }
}

fn give_back(version: Version, request_id: i64) -> Command {
    Command::GiveBack { version, request_id: RequestId(request_id) }
}

/// A held lock for which 2 waits at the other replica and 3 here.
fn two_replicas(first: Acquire) -> Scene {
    let mut scene = Scene::held();
    scene.me = Some(OTHER);
    scene.waits(first);
    scene.me = Some(ME);
    scene.waits(wait(3));
    scene
}

/// Invariant 5.
#[test]
fn waiters_are_granted_in_order_in_the_commit_of_the_release() {
    let mut scene = Scene::held();
    for n in 2..5 {
        scene.waits(wait(n));
    }
    for n in 1..4 {
        scene.release(n);
        assert_eq!(scene.served(), [i64::from(n) + 1]);
    }
}

/// Invariants 5 and 6.
#[test]
fn a_new_acquire_after_the_end_of_a_lease_serves_the_queue_first() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    scene.now += 1_000;
    assert!(matches!(scene.refused_acquire(ask(3)), Refusal::NotGranted(refused) if refused.waiters == 0));
    assert_eq!(scene.served(), [2]);
}

#[test]
fn a_place_is_offered_to_another_replica_and_nobody_overtakes_it() {
    let mut scene = two_replicas(wait(2));
    scene.release(1);
    assert_eq!((scene.served(), scene.effects.1.contains(&OTHER)), (vec![], true));
    assert!(matches!(scene.refused_acquire(ask(4)), Refusal::NotGranted(_)));
    scene.me = Some(OTHER);
    scene.now += 100;
    scene.run(&Command::ServeQueue);
    assert_eq!(scene.served(), [2]);
    assert_eq!(scene.look().held.unwrap().expires_in_ms, 1_000, "the lease starts at the claim");
}

#[test]
fn an_offer_that_nobody_claims_is_passed_on_after_two_seconds() {
    let mut scene = two_replicas(wait(2));
    scene.release(1);
    scene.now += 1_999;
    scene.run(&Command::ServeQueue);
    assert!(scene.served().is_empty());
    scene.now += 1;
    scene.run(&Command::ServeQueue);
    assert_eq!((scene.served(), scene.state.queue.len), (vec![3], 0));
}

#[test]
fn an_offer_that_lapses_without_a_place_is_withdrawn() {
    let mut scene = two_replicas(wait(2));
    scene.now += 1_000;
    scene.run(&Command::ServeQueue);
    // The clock steps back: the lease is active once more, and is renewed.
    scene.now -= 500;
    scene.run(&Command::Heartbeat(crate::domain::Heartbeat { lease_ms: Some(9_000), ..beat(1) }));
    scene.now += 4_000;
    scene.run(&Command::ServeQueue);
    let now = crate::domain::Now::exactly(scene.now);
    assert_eq!(scene.state.next_event(now, |_| false), Some(Timestamp(START + 9_500)));
    assert_eq!(scene.state.queue.len, 2);
}

#[test]
fn a_waiter_of_a_dead_replica_is_skipped_at_once() {
    let mut scene = two_replicas(wait(2));
    scene.dead.insert(OTHER);
    scene.release(1);
    assert_eq!((scene.served(), scene.effects.1.is_empty()), (vec![3], true));
}

#[test]
fn a_reaped_waiter_with_a_chosen_version_keeps_its_place() {
    let mut scene = two_replicas(wait_chosen(2));
    scene.dead.insert(OTHER);
    scene.run(&Command::ReapReplica { replica: OTHER });
    assert_eq!(scene.state.queue.len, 2);
    scene.waits(Acquire { request_id: RequestId(22), ..wait_chosen(2) });
    scene.release(1);
    assert_eq!(scene.served(), [22]);
}

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

#[test]
fn the_data_of_waiters_is_asked_for_before_they_are_served_and_not_earlier() {
    let mut scene = Scene::held();
    let with_data = |number| Acquire { data: Some(data("mine")), replace_data: true, ..wait_chosen(number) };
    scene.waits(with_data(2));
    scene.waits(with_data(3));
    let unread = |scene: &mut Scene| scene.state.queue.leave_data_unread(&[]);
    unread(&mut scene);
    scene.run(&leave(2, LeaveReason::HungUp));
    unread(&mut scene);
    scene.waits(wait_chosen(2));
    unread(&mut scene);
    let decided = KeyChange::new(key(), scene.state.clone()).decide(&release(1), &scene.context());
    assert_eq!(decided, Err(Need::Data(vec![v(2)])), "there is room for one");
    scene.state.queue.head[0].data = WaiterData::Read(Some(data("mine")));
    scene.release(1);
    assert_eq!(scene.look().data, Some(data("mine")));
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

#[test]
fn after_a_step_back_of_the_clock_a_lease_lasts_no_longer_than_it_was_granted_for() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    scene.now -= 2_000;
    scene.run(&Command::ServeQueue);
    assert!(!scene.wrote, "within the tolerance");
    scene.now -= 3_600_000;
    scene.run(&Command::ServeQueue);
    assert_eq!(scene.look().held.unwrap().expires_in_ms, 1_000);
}

#[test]
fn a_waiter_needs_a_registered_replica() {
    let scene = Scene { me: None, ..Scene::held() };
    let (decided, _) = scene.decide(&Command::Acquire(wait(2)));
    assert_eq!(decided, Err(crate::domain::Need::Membership));
    let (decided, _) = scene.decide(&release(1));
    assert!(decided.is_ok(), "a release does not need one");
}

/// A waiter with the owner of 2 that accepts the grant of 2 as its answer.
fn wait_reentrant(n: u16) -> Acquire {
    reentrant(Acquire { owner: ask(2).owner, ..wait(n) })
}

#[test]
fn reentrant_waiters_share_the_grant_of_their_owner_at_once() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    scene.waits(wait(3));
    scene.waits(wait_reentrant(4));
    scene.release(1);
    assert_eq!(scene.served(), [2, wait_reentrant(4).request_id.0]);
    let versions: Vec<_> = scene.effects.0.iter().map(|(_, reply)| held_version(reply)).collect();
    assert_eq!((versions, scene.state.queue.len), (vec![Some(v(2)); 2], 1), "3 still waits");
    scene.run(&give_back(v(2), 2));
    scene.run(&give_back(v(4), wait_reentrant(4).request_id.0));
    assert_eq!(scene.holder(), Some(v(2)), "the other request may rely on it");
    scene.release(2);
    assert_eq!(scene.served(), [3]);
}

#[test]
fn reentrant_waiters_at_another_replica_are_notified_and_served_there() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    scene.me = Some(OTHER);
    scene.waits(wait_reentrant(4));
    scene.me = Some(ME);
    scene.release(1);
    assert_eq!((scene.served(), scene.effects.1.contains(&OTHER)), (vec![2], true));
    scene.me = Some(OTHER);
    scene.run(&Command::ServeQueue);
    assert_eq!((scene.served(), scene.holder()), (vec![wait_reentrant(4).request_id.0], Some(v(2))));
}

fn held_version(reply: &Reply) -> Option<Version> {
    let Reply::Granted(view) = reply else { return None };
    view.held.as_ref().map(|held| held.version)
}
