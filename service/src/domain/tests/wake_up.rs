//! The next look at a key with a queue: never too late, and not again and again.

use super::fixtures::{ME, OTHER, START, Scene, ask, v, wait, wait_chosen};
use crate::domain::{Acquire, Body, BusyCount, Command, Kind, LeaveReason, Now, RequestId, Timestamp};

fn permit(acquire: Acquire) -> Acquire {
    Acquire { kind: Kind::Semaphore, ..acquire }
}

fn next_event(scene: &Scene, at: i64) -> Option<Timestamp> {
    scene.state.next_event(Now::exactly(at), |_| false)
}

/// Invariant 6.
#[test]
fn a_key_with_a_queue_is_looked_at_when_the_lease_ends() {
    let mut scene = Scene::held();
    assert_eq!(next_event(&scene, START), None);
    scene.waits(wait(2));
    assert_eq!(next_event(&scene, START), Some(Timestamp(START + 1_000)));
    scene.now += 1_000;
    scene.run(&Command::ServeQueue);
    assert_eq!(scene.served(), [2]);
}

/// Invariant 6.
#[test]
fn a_lease_that_ended_before_the_timer_was_set_is_looked_at_at_once() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    assert_eq!(next_event(&scene, START + 1_001), Some(Timestamp(START + 1_001)));
    let mut scene = Scene::semaphore(2);
    scene.granted(permit(Acquire { lease_ms: Some(9_000), ..ask(1) }));
    scene.granted(permit(ask(2)));
    scene.waits(permit(wait(3)));
    assert_eq!(next_event(&scene, START + 1_001), Some(Timestamp(START + 1_001)));
}

/// Invariant 6.
#[test]
fn an_ended_lease_is_looked_at_at_once_even_if_no_known_waiter_can_be_served() {
    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.waits(wait(3));
    scene.run(&Command::Leave { version: v(2), request_id: RequestId(2), reason: LeaveReason::HungUp });
    scene.state.queue.head.truncate(1);
    assert_eq!(next_event(&scene, START + 1_001), Some(Timestamp(START + 1_001)));
}

/// Invariant 6.
#[test]
fn a_permit_that_ended_after_it_was_counted_frees_a_place_of_a_shrunk_semaphore() {
    let mut scene = Scene::semaphore(2);
    scene.granted(permit(ask(1)));
    scene.granted(permit(Acquire { lease_ms: Some(9_000), ..ask(2) }));
    scene.run(&Command::PutSemaphore {
        max_size: 1,
        lease_ms: None,
        default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
        guarded: None,
    });
    scene.waits(permit(wait(3)));
    scene.waits(permit(wait(4)));
    scene.run(&Command::Release(crate::domain::Release {
        kind: Kind::Semaphore,
        version: v(2),
        data: crate::domain::DataEdit::Keep,
        delete_lock: false,
    }));
    assert_eq!(scene.served(), [] as [i64; 0], "permit 1 is still active");
    let Body::Semaphore(semaphore) = &mut scene.state.body else { panic!("no semaphore") };
    semaphore.permits.busy_counted = Some(BusyCount { busy: 1, at: Timestamp(START + 999) });
    assert_eq!(next_event(&scene, START + 1_000), Some(Timestamp(START + 1_000)));
    scene.now += 1_000;
    scene.run(&Command::ServeQueue);
    assert_eq!(scene.served(), [3]);
}

#[test]
fn a_free_place_that_is_kept_for_a_waiter_causes_no_constant_looks() {
    let mut scene = Scene::held();
    scene.me = Some(OTHER);
    scene.waits(wait(2));
    scene.waits(wait(3));
    scene.me = Some(ME);
    scene.release(1);
    let lapses = scene.now + 2_000;
    assert_eq!(next_event(&scene, scene.now + 1), Some(Timestamp(lapses)), "it is offered to 2");

    let mut scene = Scene::held();
    scene.waits(wait_chosen(2));
    scene.run(&Command::Leave { version: v(2), request_id: RequestId(2), reason: LeaveReason::HungUp });
    scene.release(1);
    assert_eq!(next_event(&scene, scene.now + 1), Some(Timestamp(scene.now + 10_000)), "2 may come back");
}
