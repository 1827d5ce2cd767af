//! Repeats of a version: they get the same grant, the same place, or nothing; never a second grant.

use super::fixtures::{ME, OTHER, Scene, ask, give_back, key, reentrant, v, wait, wait_chosen};
use crate::domain::{
    Acquire, Command, KeyChange, LeaveReason, Owner, Refusal, Reply, RequestId, Verdict, WaiterLimit,
    WaiterRoom,
};

fn chosen(n: u16) -> Acquire {
    Acquire { chosen: true, ..ask(n) }
}

/// Invariant 9.
#[test]
fn a_repeat_answers_the_active_grant() {
    let mut scene = Scene::new();
    let first = scene.granted(chosen(1));
    scene.now += 100;
    let again = scene.granted(Acquire { request_id: RequestId(77), lease_ms: Some(5), ..chosen(1) });
    assert_eq!(again.fencing_token, first.fencing_token);
    assert_eq!(again.held.unwrap().expires_in_ms, 900);
}

/// Invariant 9.
#[test]
fn a_repeat_after_the_grant_ended_is_refused_for_good() {
    let mut scene = Scene::new();
    scene.granted(chosen(1));
    scene.now += 1_000;
    assert_eq!(scene.refused_acquire(chosen(1)), Refusal::VersionMismatch);
    for n in 2..10 {
        scene.granted(chosen(n));
        scene.release(n);
        assert_eq!(scene.refused_acquire(chosen(1)), Refusal::VersionMismatch, "after {n}");
    }
}

/// Invariant 9.
#[test]
fn a_version_is_refused_after_its_release_and_after_the_lock_was_deleted() {
    let mut scene = Scene::new();
    scene.granted(chosen(1));
    scene.release(1);
    assert_eq!(scene.refused_acquire(chosen(1)), Refusal::VersionMismatch);
    scene.run(&Command::DeleteLock { version: None });
    assert_eq!(scene.refused_acquire(chosen(1)), Refusal::VersionMismatch);
}

#[test]
fn a_repeat_by_another_owner_is_refused() {
    let mut scene = Scene::new();
    scene.granted(chosen(1));
    let thief = Owner::new("thief").unwrap();
    assert_eq!(
        scene.refused_acquire(Acquire { owner: thief.clone(), ..chosen(1) }),
        Refusal::VersionMismatch
    );
    scene.waits(wait_chosen(2));
    assert_eq!(scene.refused_acquire(Acquire { owner: thief, ..wait_chosen(2) }), Refusal::VersionMismatch);
}

#[test]
fn a_repeat_takes_over_the_place_of_the_one_that_waits() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.waits(wait_chosen(3));
    scene.waits(Acquire { request_id: RequestId(22), ..wait_chosen(2) });
    assert_eq!(scene.dismissed(), [(2, Refusal::Superseded)]);
    scene.release(1);
    assert_eq!(scene.served(), [22], "it has kept its place before 3");
    assert_eq!(scene.holder(), Some(v(2)));
}

/// A replica that has no room for another waiter.
const NO_ROOM: WaiterRoom = WaiterRoom { places: 0, limit: WaiterLimit::Tenant };

/// Otherwise a tenant could have more waiters at one replica than it may have, by repeats of requests to others.
#[test]
fn a_repeat_leaves_its_place_as_it_was_if_it_would_have_to_wait_at_a_replica_without_room() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    let repeat = Command::Acquire(Acquire { request_id: RequestId(22), ..wait_chosen(2) });
    let before = scene.state.queue.clone();
    scene.me = Some(OTHER);
    let mut change = KeyChange::new(key(), scene.state.clone());
    change.waiter_room = NO_ROOM;
    let refused = Ok(Verdict::Reply(Reply::Refused(Refusal::QueueFull(WaiterLimit::Tenant))));
    assert_eq!(change.decide(&repeat, &scene.context()), refused);
    assert_eq!(change.state.queue.head, before.head);

    scene.me = Some(ME);
    let mut change = KeyChange::new(key(), scene.state.clone());
    change.waiter_room = NO_ROOM;
    let waits = change.decide(&repeat, &scene.context());
    assert!(matches!(waits, Ok(Verdict::Waiting { .. })), "the first request makes room: {waits:?}");

    scene.me = Some(OTHER);
    scene.now += 1_001;
    let mut change = KeyChange::new(key(), scene.state.clone());
    change.waiter_room = NO_ROOM;
    let granted = change.decide(&repeat, &scene.context());
    assert!(matches!(granted, Ok(Verdict::Reply(Reply::Granted(_)))), "it need not wait: {granted:?}");
    assert_eq!(change.effects.notified.len(), 1, "the first request is superseded");
}

#[test]
fn a_repeat_that_does_not_wait_leaves_the_queue_with_its_position() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.waits(wait_chosen(3));
    let Refusal::NotGranted(refused) = scene.refused_acquire(Acquire { wait_ms: Some(0), ..wait_chosen(3) })
    else {
        panic!("refused otherwise")
    };
    assert_eq!((refused.queue_position, refused.waiters), (Some(2), 1));
}

/// The first of two requests with version 2 waits here, and asks what became of its missing row.
fn first_looks_for_its_place(scene: &mut Scene) -> Refusal {
    scene.me = Some(ME);
    scene.refused(&Command::Leave { version: v(2), request_id: RequestId(2), reason: LeaveReason::Missing })
}

#[test]
fn a_waiter_whose_place_was_taken_over_is_superseded_whatever_the_repeat_did() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.me = Some(OTHER);
    scene.waits(Acquire { request_id: RequestId(22), ..wait_chosen(2) });
    assert_eq!(first_looks_for_its_place(&mut scene), Refusal::Superseded, "the repeat waits");
    scene.me = Some(OTHER);
    scene.release(1);
    assert_eq!(scene.served(), [22]);
    assert_eq!(first_looks_for_its_place(&mut scene), Refusal::Superseded, "the repeat holds");
    scene.release(2);
    assert_eq!(first_looks_for_its_place(&mut scene), Refusal::Superseded, "the repeat held");
    scene.granted(ask(3));
    assert_eq!(first_looks_for_its_place(&mut scene), Refusal::Superseded, "the repeat held before 3");
}

#[test]
fn a_waiter_whose_row_is_gone_is_answered_that_its_place_was_lost() {
    let mut scene = Scene::held();
    assert_eq!(first_looks_for_its_place(&mut scene), Refusal::PlaceLost);
}

/// Invariants 7 and 9.
#[test]
fn a_repeat_whose_answer_is_lost_does_not_end_the_grant_that_the_first_was_answered() {
    let mut scene = Scene::new();
    scene.granted(chosen(1));
    scene.granted(Acquire { request_id: RequestId(11), ..chosen(1) });
    scene.run(&give_back(1, 11));
    assert_eq!(scene.holder(), Some(v(1)), "the first relies on it");
    scene.granted(Acquire { request_id: RequestId(12), ..chosen(1) });
    for request_id in [1, 11, 12] {
        scene.run(&give_back(1, request_id));
    }
    assert_eq!(scene.holder(), Some(v(1)), "one of the requests may rely on it");
}

/// Invariant 7.
#[test]
fn a_late_clean_up_of_the_first_request_leaves_the_grant_to_its_repeat() {
    let mut scene = Scene::new();
    scene.granted(chosen(1));
    scene.granted(Acquire { request_id: RequestId(11), ..chosen(1) });
    scene.run(&give_back(1, 1));
    assert_eq!(scene.holder(), Some(v(1)));
}

/// Invariants 7 and 9.
#[test]
fn a_retry_by_the_engine_leaves_the_grant_to_its_only_request() {
    let mut scene = Scene::new();
    scene.granted(chosen(1));
    scene.granted(Acquire { retried: true, ..chosen(1) });
    scene.run(&give_back(1, 1));
    assert_eq!(scene.holder(), None);
}

/// Invariant 7.
#[test]
fn a_grant_that_was_reentered_is_not_ended_because_its_own_answer_was_lost() {
    let mut scene = Scene::new();
    scene.granted(ask(1));
    scene.granted(reentrant(Acquire { owner: ask(1).owner, ..ask(2) }));
    scene.run(&give_back(1, 1));
    assert_eq!(scene.holder(), Some(v(1)));
}

/// Guards invariant 9: the answer of the database to a hand-over was lost. Before the engine looks for it, another
/// request of the same owner is answered with that grant.
#[test]
fn a_waiter_learns_of_its_grant_even_if_its_owner_has_reentered_it_meanwhile() {
    for waiter in [wait(2), wait_chosen(2)] {
        let mut scene = Scene::held();
        scene.waits(waiter.clone());
        scene.release(1);
        assert_eq!(scene.served(), [2], "this answer is lost");
        scene.granted(reentrant(Acquire { owner: waiter.owner, ..ask(3) }));
        let leave = Command::Leave { version: v(2), request_id: RequestId(2), reason: LeaveReason::TimedOut };
        let Verdict::Reply(Reply::Granted(view)) = scene.run(&leave) else { panic!("it holds") };
        assert_eq!(view.held.map(|held| held.version), Some(v(2)));
    }
}
