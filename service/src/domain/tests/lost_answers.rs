//! Grants that were answered to several requests, of which some or all answers were lost.

use super::fixtures::{ME, OTHER, Scene, ask, beat, give_back, reentrant, v, wait, wait_chosen};
use crate::domain::{Acquire, Command, Kind, LeaveReason, Reply, RequestId, Verdict};

/// The acquire of a request of owner 9 that waits and is reentrant.
fn reentrant_waiter(n: u16) -> Acquire {
    reentrant(Acquire { owner: ask(9).owner, ..wait(n) })
}

/// Three reentrant requests of one owner wait, two of them here, and all are answered with the grant of version 2.
fn reentered_by_three() -> (Scene, [RequestId; 3]) {
    let mut scene = Scene::held();
    let waiters = [2, 3, 4].map(reentrant_waiter);
    let requests = waiters.clone().map(|waiter| waiter.request_id);
    let [first, second, third] = waiters;
    scene.waits(first);
    scene.waits(second);
    scene.me = Some(OTHER);
    scene.waits(third);
    scene.me = Some(ME);
    scene.release(1);
    assert_eq!(scene.served(), [requests[0].0, requests[1].0]);
    scene.me = Some(OTHER);
    scene.run(&Command::ServeQueue);
    assert_eq!(scene.served(), [requests[2].0]);
    (scene, requests)
}

/// Invariant 7: nobody knows the grant, so it does not stay until its lease ends. The requests were answered at two replicas.
#[test]
fn a_reentered_grant_ends_when_all_of_its_answers_were_lost() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (mut scene, requests) = reentered_by_three();
        for (lost, index) in order.into_iter().enumerate() {
            assert_eq!(scene.holder(), Some(v(2)), "{lost} answers were lost");
            scene.run(&give_back(2, requests[index].0));
        }
        assert_eq!(scene.holder(), None);
    }
}

/// Invariants 1 and 7: one request knows the grant, whatever the clean-up of the others does, and how often.
#[test]
fn a_reentered_grant_stays_if_one_of_its_answers_was_delivered() {
    for delivered in 0..3 {
        let (mut scene, requests) = reentered_by_three();
        for _ in 0..3 {
            for lost in (0..3).filter(|index| *index != delivered) {
                scene.run(&give_back(2, requests[lost].0));
                assert_eq!(scene.holder(), Some(v(2)));
            }
        }
    }
}

/// Invariant 7: the second request takes the grant over while the clean-up of the first is under way.
#[test]
fn a_lost_answer_of_a_kept_grant_counts_only_until_it_is_given_back() {
    let mut scene = Scene::new();
    let first = Acquire { owner: ask(9).owner, chosen: true, ..ask(1) };
    scene.granted(first);
    scene.run(&Command::Keep { version: v(1), request_id: RequestId(1) });
    let second = reentrant_waiter(2);
    scene.granted(second.clone());
    scene.run(&give_back(1, 1));
    assert_eq!(scene.holder(), Some(v(1)), "the second relies on it");
    scene.run(&give_back(1, second.request_id.0));
    assert_eq!(scene.holder(), None);
}

/// Invariants 1 and 9: a heartbeat shows that its caller knows the grant.
#[test]
fn a_reentered_grant_that_was_renewed_is_not_given_back() {
    let (mut scene, requests) = reentered_by_three();
    scene.run(&Command::Heartbeat(beat(2)));
    for request_id in requests {
        scene.run(&give_back(2, request_id.0));
    }
    assert_eq!(scene.holder(), Some(v(2)));
}

/// Invariant 7: permits are repeated by their versions.
#[test]
fn a_repeated_permit_ends_when_both_answers_were_lost() {
    for lost in [vec![1], vec![11], vec![1, 11]] {
        let mut scene = Scene::semaphore(2);
        let first = Acquire { kind: Kind::Semaphore, chosen: true, ..ask(1) };
        scene.granted(first.clone());
        scene.granted(Acquire { request_id: RequestId(11), ..first });
        for request_id in &lost {
            scene.run(&give_back(1, *request_id));
        }
        assert_eq!(scene.look_semaphore().busy_count, i64::from(lost.len() == 1));
    }
}

/// Invariant 7: the leave of a caller that has gone comes after the grant that the caller was never answered.
#[test]
fn a_late_leave_of_a_caller_that_has_gone_does_not_keep_the_grant() {
    for reason in [LeaveReason::HungUp, LeaveReason::Evicted] {
        let mut scene = Scene::held();
        let first = Acquire { chosen: true, ..reentrant_waiter(2) };
        let second = reentrant_waiter(3);
        let requests = [first.request_id, second.request_id];
        scene.waits(first);
        scene.waits(second);
        scene.release(1);
        assert_eq!(scene.served(), requests.map(|request_id| request_id.0));
        for (version, request_id) in [(v(2), requests[0]), (v(3), requests[1])] {
            scene.run(&Command::Leave { version, request_id, reason });
        }
        assert_eq!(scene.holder(), Some(v(2)), "{reason:?}: a leave ends no grant");
        for request_id in requests {
            scene.run(&give_back(2, request_id.0));
        }
        assert_eq!(scene.holder(), None, "{reason:?}");
    }
}

/// Invariant 9: it is not known whether the waiter is one of those who have the grant.
#[test]
fn a_waiter_that_is_answered_with_a_grant_of_several_requests_keeps_it() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.me = Some(OTHER);
    scene.waits(Acquire { request_id: RequestId(22), ..wait_chosen(2) });
    scene.release(1);
    let reentrant = reentrant(Acquire { owner: ask(2).owner, ..ask(3) });
    scene.granted(reentrant.clone());
    scene.me = Some(ME);
    let leave = Command::Leave { version: v(2), request_id: RequestId(2), reason: LeaveReason::Missing };
    assert!(matches!(scene.run(&leave), Verdict::Reply(Reply::Granted(_))));
    for request_id in [22, reentrant.request_id.0] {
        scene.run(&give_back(2, request_id));
    }
    assert_eq!(scene.holder(), Some(v(2)), "the waiter relies on it");
}
