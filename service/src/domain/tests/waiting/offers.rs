//! Waiters at other replicas: offers to them, and what becomes of those of a dead replica.

use crate::domain::{
    Acquire, Command, Refusal, RequestId, Timestamp,
    tests::fixtures::{ME, OTHER, START, Scene, ask, beat, release, wait, wait_chosen},
};

/// A held lock for which 2 waits at the other replica and 3 here.
fn two_replicas(first: Acquire) -> Scene {
    let mut scene = Scene::held();
    scene.me = Some(OTHER);
    scene.waits(first);
    scene.me = Some(ME);
    scene.waits(wait(3));
    scene
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
fn a_waiter_needs_a_registered_replica() {
    let scene = Scene { me: None, ..Scene::held() };
    let (decided, _) = scene.decide(&Command::Acquire(wait(2)));
    assert_eq!(decided, Err(crate::domain::Need::Membership));
    let (decided, _) = scene.decide(&release(1));
    assert!(decided.is_ok(), "a release does not need one");
}
