//! Heartbeat, release and deletion of a grant by its version.

use super::fixtures::{START, Scene, ask, beat, data, release, v, wait};
use crate::domain::{Acquire, Command, DataEdit, Heartbeat, Kind, Refusal, Release, Reply, Timestamp};

fn renewed(scene: &mut Scene, heartbeat: Heartbeat) -> crate::domain::LockView {
    match scene.reply(&Command::Heartbeat(heartbeat)) {
        Reply::Granted(view) => view,
        other => panic!("not renewed: {other:?}"),
    }
}

#[test]
fn a_heartbeat_renews_the_lease_from_now_and_keeps_a_new_length() {
    let mut scene = Scene::held();
    scene.now += 900;
    assert_eq!(renewed(&mut scene, beat(1)).held.unwrap().expires_at.0, START + 1_900);
    let longer = Heartbeat { lease_ms: Some(3_000), ..beat(1) };
    assert_eq!(renewed(&mut scene, longer).held.unwrap().expires_in_ms, 3_000);
    let view = renewed(&mut scene, beat(1));
    assert_eq!((view.held.unwrap().expires_in_ms, view.fencing_token.0), (3_000, 1));
}

#[test]
fn a_heartbeat_keeps_sets_or_deletes_the_data() {
    let mut scene = Scene::held();
    let set = Heartbeat { data: DataEdit::Set(data("a")), ..beat(1) };
    assert_eq!(renewed(&mut scene, set).data, Some(data("a")));
    assert_eq!(renewed(&mut scene, beat(1)).data, Some(data("a")));
    assert_eq!(renewed(&mut scene, Heartbeat { data: DataEdit::Delete, ..beat(1) }).data, None);
}

/// Invariant 4.
#[test]
fn a_late_heartbeat_and_an_outdated_version_are_refused_differently() {
    let mut scene = Scene::new();
    assert_eq!(scene.refused(&Command::Heartbeat(beat(1))), Refusal::NotFound);
    scene.granted(ask(1));
    assert_eq!(scene.refused(&Command::Heartbeat(beat(2))), Refusal::VersionMismatch);
    scene.now += 1_000;
    assert_eq!(scene.refused(&Command::Heartbeat(beat(1))), Refusal::LeaseExpired);
    scene.release(1);
    assert_eq!(scene.refused(&Command::Heartbeat(beat(1))), Refusal::VersionMismatch);
}

/// Invariant 4.
#[test]
fn a_release_acts_on_its_own_grant_or_on_nothing() {
    let mut scene = Scene::held();
    assert_eq!(scene.refused(&release(2)), Refusal::VersionMismatch);
    let view = scene.release(1);
    assert!(view.held.is_none());
    scene.release(1);
    assert!(!scene.wrote, "a repeated release changes nothing");
    scene.granted(ask(2));
    assert_eq!(scene.refused(&release(1)), Refusal::VersionMismatch);
    assert_eq!(scene.holder(), Some(v(2)));
}

#[test]
fn a_release_after_the_lease_ended_still_applies_its_fields() {
    let mut scene = Scene::held();
    scene.now += 5_000;
    let late =
        Release { kind: Kind::Mutex, version: v(1), data: DataEdit::Set(data("late")), delete_lock: false };
    scene.run(&Command::Release(late));
    assert_eq!(scene.look().data, Some(data("late")));
}

#[test]
fn a_release_shows_the_lock_unheld_even_if_the_next_one_has_it() {
    let mut scene = Scene::held();
    scene.waits(wait(2));
    assert!(scene.release(1).held.is_none());
    assert_eq!(scene.holder(), Some(v(2)));
}

#[test]
fn a_deleting_release_hands_over_and_its_repeat_is_not_found() {
    let mut scene = Scene::new();
    scene.granted(Acquire { delete_on_release: true, data: Some(data("old")), ..ask(1) });
    scene.waits(wait(2));
    scene.release(1);
    assert_eq!((scene.served(), scene.look().data), (vec![2], None));
    let delete = Release { kind: Kind::Mutex, version: v(2), data: DataEdit::Keep, delete_lock: true };
    scene.run(&Command::Release(delete.clone()));
    assert_eq!(scene.refused(&Command::Release(delete)), Refusal::NotFound);
    assert_eq!(scene.refused(&Command::Get(Kind::Mutex)), Refusal::NotFound);
}

#[test]
fn a_delete_needs_the_version_only_while_the_lock_is_held() {
    let mut scene = Scene::new();
    let delete = |version| Command::DeleteLock { version };
    assert_eq!(scene.refused(&delete(None)), Refusal::NotFound);
    scene.granted(ask(1));
    assert!(matches!(scene.refused(&delete(None)), Refusal::InUse(holders) if holders.len() == 1));
    assert_eq!(scene.refused(&delete(Some(v(2)))), Refusal::VersionMismatch);
    assert_eq!(scene.reply(&delete(Some(v(1)))), Reply::Deleted);
    scene.granted(ask(2));
    scene.release(2);
    assert_eq!(scene.reply(&delete(Some(v(9)))), Reply::Deleted);
}

#[test]
fn put_creates_a_free_lock_or_replaces_the_data_of_one() {
    let mut scene = Scene::new();
    let put = |text| Command::PutLock { data: Some(data(text)), guarded: None };
    assert!(matches!(scene.reply(&put("a")), Reply::Lock { created: true, view } if view.held.is_none()));
    assert_eq!(scene.look().fencing_token.0, 0);
    assert!(matches!(scene.reply(&put("b")), Reply::Lock { created: false, .. }));
    assert_eq!(scene.granted(ask(1)).data, Some(data("b")));
    assert!(matches!(scene.refused(&put("c")), Refusal::InUse(_)));
}

#[test]
fn a_lock_that_was_put_is_not_deleted_because_of_an_earlier_grant() {
    let mut scene = Scene::new();
    scene.granted(Acquire { delete_on_release: true, ..ask(1) });
    scene.now += 1_000;
    scene.run(&Command::PutLock { data: Some(data("put")), guarded: None });
    scene.now += 60_000;
    scene.run(&Command::Sweep { ended_before: Timestamp(scene.now), idle_since: None });
    assert_eq!(scene.look().data, Some(data("put")), "the lock is not swept");
    scene.release(1);
    assert_eq!(scene.look().data, Some(data("put")), "a late release does not delete the lock");
}

#[test]
fn an_ended_lease_is_shown_as_free_with_its_token() {
    let mut scene = Scene::held();
    scene.now += 1_000;
    let view = scene.look();
    assert_eq!((view.held, view.fencing_token.0), (None, 1));
}

#[test]
fn a_sweep_deletes_only_locks_that_nobody_needs() {
    let sweep = |before, idle| Command::Sweep {
        ended_before: Timestamp(before),
        idle_since: Option::map(idle, Timestamp),
    };
    let mut scene = Scene::new();
    scene.granted(Acquire { delete_on_release: true, ..ask(1) });
    scene.run(&sweep(START + 5_000, Some(START + 5_000)));
    assert_eq!(scene.holder(), Some(v(1)), "held");
    scene.now += 2_000;
    scene.run(&sweep(START + 999, None));
    assert_eq!(scene.holder(), None, "not deleted: the lease ended too recently");
    scene.run(&sweep(START + 1_000, None));
    assert_eq!(scene.refused(&Command::Get(Kind::Mutex)), Refusal::NotFound);
    assert_eq!(scene.granted(ask(2)).fencing_token.0, 2);
}
