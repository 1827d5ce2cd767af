//! Semaphores: permits, sizes, and their deletion.

use super::fixtures::{START, Scene, ask, key, release, v, wait};
use crate::domain::{
    Acquire, Body, BusyCount, Command, Data, KeyChange, Kind, MOST_GUARDED_PERMITS, Need, Permit, Refusal,
    Reply, RequestFlags, RequestId, Timestamp,
};

fn permit(n: u16) -> Acquire {
    Acquire { kind: Kind::Semaphore, ..ask(n) }
}

fn wait_permit(n: u16) -> Acquire {
    Acquire { kind: Kind::Semaphore, ..wait(n) }
}

fn resize(max_size: i32) -> Command {
    Command::PutSemaphore {
        max_size,
        lease_ms: None,
        default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
        guarded: None,
    }
}

/// Invariant 1.
#[test]
fn no_more_permits_are_active_than_the_size_allows() {
    let mut scene = Scene::semaphore(2);
    assert_eq!(scene.granted(permit(1)).fencing_token.0, 1);
    assert_eq!(scene.granted(permit(2)).fencing_token.0, 2);
    let Refusal::NotGranted(refused) = scene.refused_acquire(permit(3)) else { panic!("refused otherwise") };
    assert_eq!(refused.holders.len(), 2);
    scene.now += 1_000;
    assert_eq!(scene.look_semaphore().busy_count, 0);
    assert!(scene.granted(permit(3)).is_permit);
}

#[test]
fn a_semaphore_is_created_first() {
    assert_eq!(Scene::new().refused_acquire(permit(1)), Refusal::NotFound);
    let mut scene = Scene::semaphore(1);
    assert_eq!(scene.refused_acquire(ask(1)), Refusal::WrongKind);
    assert_eq!(scene.refused(&Command::Get(Kind::Mutex)), Refusal::WrongKind);
}

#[test]
fn the_default_lease_is_the_semaphores_and_kept_when_left_out() {
    let mut scene = Scene::new();
    scene.run(&Command::PutSemaphore {
        max_size: 1,
        lease_ms: Some(300),
        default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
        guarded: None,
    });
    scene.run(&resize(2));
    assert_eq!(scene.granted(Acquire { lease_ms: None, ..permit(1) }).lease_ms, 300);
    assert_eq!(Scene::semaphore(1).look_semaphore().lease_ms, 15_000);
}

/// Invariant 6.
#[test]
fn growing_serves_waiters_at_once() {
    let mut scene = Scene::semaphore(1);
    scene.granted(permit(1));
    for n in 2..5 {
        scene.waits(wait_permit(n));
    }
    scene.run(&resize(3));
    assert_eq!(scene.served(), [2, 3]);
    let view = scene.look_semaphore();
    assert_eq!((view.busy_count, view.waiters), (3, 1));
}

/// Guards that one write does not take the data of a thousand permits, which other keys would wait for.
#[test]
fn growing_serves_waiters_with_much_data_in_parts() {
    let mut scene = Scene::semaphore(1);
    scene.granted(permit(1));
    let data = Data::trusted(&"x".repeat(32_000));
    for n in 2..12 {
        scene.waits(Acquire { data: Some(data.clone()), ..wait_permit(n) });
    }
    scene.run(&resize(20));
    let served = [(); 5].map(|()| {
        let served = scene.served().len();
        scene.run(&Command::ServeQueue);
        served
    });
    assert_eq!(
        served,
        [3, 3, 3, 1, 0],
        "after three, which leave the queue and get a permit, the change is full"
    );
}

/// Invariant 1.
#[test]
fn shrinking_ends_no_permit_and_grants_none_until_enough_are_released() {
    let mut scene = Scene::semaphore(3);
    for n in 1..4 {
        scene.granted(permit(n));
    }
    scene.run(&resize(1));
    assert_eq!(scene.look_semaphore().busy_count, 3);
    for n in 1..3 {
        scene.run(&release(n));
        assert!(matches!(scene.refused_acquire(permit(9)), Refusal::NotGranted(_)));
    }
    scene.run(&release(3));
    scene.granted(permit(4));
}

#[test]
fn a_permits_version_stays_current_until_its_slot_is_granted_again() {
    let mut scene = Scene::semaphore(1);
    scene.granted(permit(1));
    scene.run(&release(1));
    assert!(matches!(scene.reply(&release(1)), Reply::Released(_)));
    scene.granted(permit(2));
    assert_eq!(scene.refused(&release(1)), Refusal::VersionMismatch);
    assert_eq!(scene.look_semaphore().busy_count, 1, "2 still has it, not {:?}", v(1));
}

/// All waiters with their data may be hundreds of megabytes.
#[test]
fn a_deletion_that_is_refused_does_not_need_all_waiters() {
    let mut scene = Scene::semaphore(1);
    scene.granted(permit(1));
    scene.waits(wait_permit(2));
    scene.state.queue.head.clear();
    assert!(matches!(scene.refused(&Command::DeleteSemaphore), Refusal::InUse(_)));
    scene.now += 1_000;
    assert!(matches!(scene.decide(&Command::DeleteSemaphore).0, Err(Need::QueuePrefix(1))));
}

#[test]
fn a_semaphore_is_not_deleted_while_permits_are_active() {
    let mut scene = Scene::semaphore(1);
    scene.granted(permit(1));
    assert!(matches!(scene.refused(&Command::DeleteSemaphore), Refusal::InUse(_)));
    scene.run(&release(1));
    assert_eq!(scene.reply(&Command::DeleteSemaphore), Reply::Deleted);
    assert_eq!(scene.refused(&Command::DeleteSemaphore), Refusal::NotFound);
    scene.run(&resize(1));
    assert_eq!(scene.granted(permit(2)).fencing_token.0, 2, "invariant 2");
}

fn guarded(acquire: Acquire) -> Acquire {
    let flags = RequestFlags { reentrant: false, guarded: true };
    Acquire { request_id: RequestId::new(acquire.request_id.0.cast_unsigned() << 1, flags), ..acquire }
}

/// A semaphore of which three permits are held for a minute. The view shows the first of them.
fn with_unknown_permits(max_size: i32, waiters: u16) -> Scene {
    let mut scene = Scene::semaphore(max_size);
    for n in 1..4 {
        scene.granted(Acquire { lease_ms: Some(60_000), ..permit(n) });
    }
    for n in 4..4 + waiters {
        scene.waits(guarded(wait_permit(n)));
    }
    let Body::Semaphore(semaphore) = &mut scene.state.body else { panic!("it is a semaphore") };
    semaphore.permits.known.retain(|permit| permit.slot == 0);
    semaphore.permits.unknown_from = Some(Timestamp(START + 60_000));
    scene
}

/// Invariant 1. A guarded semaphore counts its known permits, and here two of three are unknown.
#[test]
fn the_first_guarded_grant_is_the_only_one_before_all_permits_are_known() {
    let mut scene = with_unknown_permits(3, 2);
    let (_, change) = scene.decide(&release(1));
    assert!(change.effects.unfinished, "the rest of the queue is served after the commit");
    scene.run(&release(1));
    assert_eq!(scene.served().len(), 1);
}

/// Invariant 1.
#[test]
fn waiters_of_a_semaphore_that_becomes_guarded_are_served_one_by_one_before_all_permits_are_known() {
    let mut scene = with_unknown_permits(3, 3);
    let Body::Semaphore(semaphore) = &mut scene.state.body else { panic!("it is a semaphore") };
    semaphore.permits.busy_counted = Some(BusyCount { busy: 3, at: Timestamp(START) });
    let (lease_ms, default_lease_ms, guarded) = (None, 15_000, Some(true));
    scene.run(&Command::PutSemaphore { max_size: 5, lease_ms, default_lease_ms, guarded });
    assert_eq!(scene.served().len(), 1);
}

/// Invariant 1.
#[test]
fn two_first_guarded_acquires_of_one_batch_are_granted_one_by_one() {
    let scene = with_unknown_permits(4, 0);
    let mut change = KeyChange::new(key(), scene.state.clone());
    let mut acquire = |n| change.decide(&Command::Acquire(guarded(permit(n))), &scene.context());
    assert!(acquire(4).is_ok());
    assert_eq!(acquire(5), Err(Need::NextBatch));
}

/// Otherwise its caller would have a permit that no guard row names.
#[test]
fn a_waiter_that_asked_for_a_guarded_permit_is_refused_when_the_semaphore_has_grown_too_large() {
    let mut scene = Scene::semaphore(1);
    scene.granted(permit(1));
    scene.waits(guarded(wait_permit(2)));
    scene.waits(wait_permit(3));
    scene.run(&resize(MOST_GUARDED_PERMITS + 1));
    assert_eq!(scene.dismissed(), [(guarded(wait_permit(2)).request_id.0, Refusal::TooLargeToGuard)]);
    assert_eq!(scene.served(), [3]);
}

/// After a step back of the clock, permits that were released end after active ones, so more and more have to be loaded.
#[test]
fn each_view_that_shows_no_free_permit_asks_for_a_larger_one() {
    let mut scene = with_unknown_permits(3, 0);
    let Body::Semaphore(semaphore) = &mut scene.state.body else { panic!("it is a semaphore") };
    semaphore.max_size = 2;
    semaphore.permits.busy_counted = Some(BusyCount { busy: 1, at: Timestamp(START) });
    let needs = |scene: &Scene| scene.decide(&Command::Acquire(permit(9))).0;
    assert_eq!(needs(&scene), Err(Need::Permits(2)));
    let Body::Semaphore(semaphore) = &mut scene.state.body else { panic!("it is a semaphore") };
    semaphore.permits.known.push(Permit { slot: 1, ..semaphore.permits.known[0].clone() });
    assert_eq!(needs(&scene), Err(Need::Permits(3)));
}
