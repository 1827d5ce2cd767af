//! Acquires of a lock: at once, never twice, reentrant, and with data.

use super::fixtures::{START, Scene, ask, data, owners, reentrant, release, v, wait};
use crate::domain::{Acquire, Command, Kind, NotGrantedReason, Owner, Refusal, Verdict, WaiterLimit};

#[test]
fn the_first_acquire_creates_the_lock() {
    let view = Scene::new().granted(ask(1));
    assert_eq!((view.fencing_token.0, view.created_at.0, view.lease_ms), (1, START, 1_000));
    let held = view.held.unwrap();
    assert_eq!((held.version, held.expires_at.0, held.expires_in_ms), (v(1), START + 1_000, 1_000));
}

/// Invariant 1.
#[test]
fn a_held_lock_is_not_granted_until_its_lease_has_ended() {
    let mut scene = Scene::held();
    scene.now += 999;
    let Refusal::NotGranted(refused) = scene.refused_acquire(ask(2)) else { panic!("refused otherwise") };
    assert_eq!((refused.reason, refused.waiters), (NotGrantedReason::NoWait, 0));
    assert_eq!((owners(&refused.holders), refused.holders[0].expires_in_ms), (vec!["owner 1"], 1));
    scene.now += 1;
    assert_eq!(scene.granted(ask(2)).fencing_token.0, 2);
}

/// Invariant 2.
#[test]
fn tokens_grow_through_release_expiry_and_delete_and_create() {
    let mut scene = Scene::held();
    scene.release(1);
    assert_eq!(scene.granted(ask(2)).fencing_token.0, 2);
    scene.now += 1_000;
    assert_eq!(scene.granted(ask(3)).fencing_token.0, 3);
    scene.run(&Command::DeleteLock { version: Some(v(3)) });
    assert_eq!(scene.granted(ask(4)).fencing_token.0, 4);
}

#[test]
fn a_lock_that_must_exist_is_not_created() {
    let refusal = Scene::new().refused_acquire(Acquire { only_if_exists: true, ..ask(1) });
    assert_eq!(refusal, Refusal::NotFound);
}

#[test]
fn an_omitted_wait_is_as_long_as_the_lease_and_only_such_a_wait_is_cut() {
    let mut scene = Scene::held();
    let long = Acquire { lease_ms: Some(700_000), wait_ms: None, additional_wait_ms: 7, ..ask(2) };
    assert_eq!(scene.acquire(long), Verdict::Waiting { wait_ms: 600_000 });
    let given = Acquire { wait_ms: Some(600_000), additional_wait_ms: 5, ..ask(3) };
    assert_eq!(scene.acquire(given), Verdict::Waiting { wait_ms: 600_005 });
    let default = Acquire { lease_ms: None, wait_ms: None, ..ask(4) };
    assert_eq!(scene.acquire(default), Verdict::Waiting { wait_ms: 15_000 });
}

#[test]
fn additional_time_alone_is_waiting_time() {
    let mut scene = Scene::held();
    let verdict = scene.acquire(Acquire { additional_wait_ms: 40, ..ask(2) });
    assert_eq!(verdict, Verdict::Waiting { wait_ms: 40 });
}

#[test]
fn data_is_stored_where_there_is_none_and_replaced_only_on_demand() {
    let mut scene = Scene::new();
    scene.granted(Acquire { data: Some(data("a")), ..ask(1) });
    scene.release(1);
    assert_eq!(scene.granted(Acquire { data: Some(data("b")), ..ask(2) }).data, Some(data("a")));
    scene.release(2);
    let replacing = Acquire { data: Some(data("c")), replace_data: true, ..ask(3) };
    assert_eq!(scene.granted(replacing).data, Some(data("c")));
    scene.release(3);
    assert_eq!(scene.granted(Acquire { replace_data: true, ..ask(4) }).data, None);
}

#[test]
fn reentering_answers_the_active_grant_unchanged() {
    let mut scene = Scene::held();
    scene.now += 400;
    let owner = Owner::new("owner 1").unwrap();
    let again = reentrant(Acquire { owner: owner.clone(), lease_ms: Some(9_000), ..ask(2) });
    let view = scene.granted(again.clone());
    assert_eq!(scene.granted(Acquire { version: v(4), ..again }), view);
    let held = view.held.unwrap();
    assert_eq!((held.version, held.expires_in_ms, view.fencing_token.0), (v(1), 600, 1));
    // There is no hold count: the first release ends the grant.
    scene.release(1);
    assert_eq!(scene.holder(), None);
    let anew = reentrant(Acquire { owner, ..ask(3) });
    assert_eq!(scene.granted(anew).held.unwrap().version, v(3));
}

#[test]
fn only_the_same_owner_reenters_and_only_while_the_lease_lasts() {
    let mut scene = Scene::held();
    let stranger = reentrant(ask(2));
    assert!(matches!(scene.refused_acquire(stranger), Refusal::NotGranted(_)));
    scene.now += 1_000;
    let late = reentrant(Acquire { owner: Owner::new("owner 1").unwrap(), ..ask(3) });
    assert_eq!(scene.granted(late).held.unwrap().version, v(3));
}

#[test]
fn a_lock_is_no_semaphore() {
    let mut scene = Scene::held();
    let wrong = Acquire { kind: Kind::Semaphore, ..ask(2) };
    assert_eq!(scene.refused_acquire(wrong), Refusal::WrongKind);
    assert_eq!(scene.refused(&Command::Get(Kind::Semaphore)), Refusal::WrongKind);
    assert_eq!(scene.refused(&Command::DeleteSemaphore), Refusal::WrongKind);
    let put = Command::PutSemaphore {
        max_size: 1,
        lease_ms: None,
        default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
        guarded: None,
    };
    assert_eq!(scene.refused(&put), Refusal::WrongKind);
}

#[test]
fn a_key_accepts_no_more_waiters_than_its_limit() {
    let mut scene = Scene { max_waiters: 1, ..Scene::held() };
    scene.waits(wait(2));
    assert_eq!(scene.refused_acquire(wait(3)), Refusal::QueueFull(WaiterLimit::Key));
    scene.run(&release(1));
    assert_eq!(scene.served(), [2]);
}
