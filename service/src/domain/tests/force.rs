//! Forced releases: rules that cannot be tested over HTTP.

use super::fixtures::{Scene, ask, beat, release, v, wait_chosen};
use crate::domain::{
    Acquire, Command, DataEdit, EarlierDecision, EndedVersions, ForcedRelease, Kind, Refusal, Reply, Verdict,
    Version,
};

fn force(version: Option<Version>) -> Command {
    let (data, delete_lock, by, reason) = (DataEdit::Keep, false, None, None);
    Command::ForceRelease(ForcedRelease { kind: Kind::Mutex, version, data, delete_lock, by, reason })
}

/// Otherwise a tenant could store sixty times as much as its limit in reasons.
#[test]
fn the_text_of_a_forced_release_counts_as_stored() {
    let scene = Scene::held();
    let Command::ForceRelease(forced) = force(None) else { panic!("it is forced") };
    let with_text = Command::ForceRelease(ForcedRelease { by: Some("x".repeat(1_000).into()), ..forced });
    assert!(scene.decide(&with_text).1.growth() >= 1_000);
}

#[test]
fn a_forced_release_of_a_lease_that_has_ended_changes_nothing() {
    let mut scene = Scene::held();
    scene.now += 1_000;
    assert!(matches!(scene.reply(&force(None)), Reply::Released(_)));
    assert!(!scene.wrote);
    assert_eq!(scene.refused(&Command::Heartbeat(beat(1))), Refusal::LeaseExpired);
}

/// Invariant 4. A chosen version is forgotten after ten minutes and eight later versions. Then it may be granted once
/// more.
#[test]
fn a_revoked_version_that_was_granted_again_can_be_renewed_and_released() {
    let mut scene = Scene::new();
    scene.granted(Acquire { chosen: true, ..ask(1) });
    scene.run(&force(Some(v(1))));
    scene.granted(ask(2));
    scene.release(2);
    scene.state.ended = EndedVersions::default();
    scene.granted(Acquire { chosen: true, ..ask(1) });
    assert!(matches!(scene.reply(&Command::Heartbeat(beat(1))), Reply::Granted(_)));
    assert!(matches!(scene.reply(&release(1)), Reply::Released(_)));
}

#[test]
fn an_acquire_with_a_revoked_version_is_refused() {
    let mut scene = Scene::new();
    scene.granted(Acquire { chosen: true, ..ask(1) });
    scene.run(&force(None));
    assert_eq!(scene.refused(&Command::Acquire(wait_chosen(1))), Refusal::VersionMismatch);
}

/// Invariant 4: a forced release that is decided again after a lost answer must not end the next grant.
#[test]
fn a_forced_release_without_a_version_is_not_decided_again_on_another_row() {
    let mut scene = Scene::held();
    let (_, change) = scene.decide(&force(None));
    let verdict = Verdict::Reply(Reply::Done);
    let earlier = EarlierDecision { verdict: &verdict, released: &change.effects.released, ended: &[] };
    scene.release(1);
    scene.granted(ask(2));
    let (_, mut change) = scene.decide(&Command::Get(Kind::Mutex));
    let decided = change.decide_again(&force(None), earlier, &scene.context());
    assert_eq!(decided, Ok(Verdict::Unknown));
    assert!(!change.dirty);
}
