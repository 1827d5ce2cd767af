//! The queue: who is granted next, with which data, and for how long after a step of the clock.

mod leaves;
mod offers;

use super::fixtures::{ME, OTHER, Scene, ask, data, key, reentrant, release, v, wait, wait_chosen};
use crate::domain::{
    Acquire, Command, KeyChange, LeaveReason, Need, Refusal, Reply, RequestId, Version, WaiterData,
};

fn leave(n: u16, reason: LeaveReason) -> Command {
    Command::Leave { version: v(n.into()), request_id: RequestId(n.into()), reason }
}

fn give_back(version: Version, request_id: i64) -> Command {
    Command::GiveBack { version, request_id: RequestId(request_id) }
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
