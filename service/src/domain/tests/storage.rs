//! The commands of a tenant that has reached its storage limit.

use super::fixtures::{Scene, ask, beat, data, release, wait};
use crate::domain::{
    Acquire, Command, DataEdit, ForcedRelease, Heartbeat, Kind, ROW_BYTES, Refusal, Release, Reply,
    Revocations,
};

/// Data of this many bytes.
fn text(bytes: usize) -> crate::domain::Data {
    data(&"x".repeat(bytes))
}

fn put(data: Option<crate::domain::Data>) -> Command {
    Command::PutLock { data, guarded: None }
}

fn full(mut scene: Scene) -> Scene {
    scene.is_over_storage = true;
    scene
}

#[test]
fn beyond_the_limit_nothing_is_created() {
    let mut scene = full(Scene::new());
    assert_eq!(scene.refused_acquire(ask(1)), Refusal::StorageFull);
    assert_eq!(scene.refused(&put(None)), Refusal::StorageFull);
    let semaphore =
        Command::PutSemaphore { max_size: 1, lease_ms: None, default_lease_ms: 1_000, guarded: None };
    assert_eq!(scene.refused(&semaphore), Refusal::StorageFull);
    let missing = Acquire { only_if_exists: true, ..ask(1) };
    assert_eq!(
        scene.refused_acquire(missing),
        Refusal::NotFound,
        "an absent lock is refused as absent first"
    );
}

#[test]
fn beyond_the_limit_existing_locks_stay_usable() {
    let mut scene = full(Scene::held());
    assert!(matches!(scene.reply(&Command::Heartbeat(beat(1))), Reply::Granted(_)));
    scene.release(1);
    scene.granted(Acquire { data: Some(text(1_024)), ..ask(2) });
    assert!(matches!(scene.reply(&release(2)), Reply::Released(_)));
    assert!(matches!(scene.reply(&put(None)), Reply::Lock { created: false, .. }));
}

#[test]
fn large_data_is_stored_only_where_as_much_was_stored_before() {
    let mut scene = Scene::new();
    scene.run(&put(Some(text(2_000))));
    let mut scene = full(scene);
    assert!(matches!(scene.reply(&put(Some(text(2_000)))), Reply::Lock { .. }));
    assert_eq!(scene.refused(&put(Some(text(2_001)))), Refusal::StorageFull);
    assert_eq!(scene.refused_acquire(Acquire { data: Some(text(2_001)), ..ask(1) }), Refusal::StorageFull);
    scene.granted(ask(1));
    let more = || DataEdit::Set(text(2_001));
    let heartbeat = Heartbeat { data: more(), ..beat(1) };
    assert_eq!(scene.refused(&Command::Heartbeat(heartbeat)), Refusal::StorageFull);
    let Command::Release(release) = release(1) else { unreachable!() };
    let refused = Command::Release(Release { data: more(), ..release.clone() });
    assert_eq!(scene.refused(&refused), Refusal::StorageFull);
    let (kind, version, delete_lock) = (Kind::Mutex, Some(release.version), false);
    let forced = ForcedRelease { kind, version, data: more(), delete_lock, by: None, reason: None };
    assert_eq!(scene.refused(&Command::ForceRelease(forced)), Refusal::StorageFull);
    assert_eq!(scene.state.revoked, Revocations::default(), "what is refused revokes nothing");
    scene.release(1);
}

#[test]
fn beyond_the_limit_permits_are_granted_only_in_existing_rows() {
    let mut scene = Scene::semaphore(2);
    let permit = |n| Acquire { kind: Kind::Semaphore, ..ask(n) };
    scene.granted(permit(1));
    let mut scene = full(scene);
    assert_eq!(scene.refused_acquire(permit(2)), Refusal::StorageFull);
    scene.release(1);
    assert_eq!(scene.refused_acquire(Acquire { data: Some(text(2_000)), ..permit(2) }), Refusal::StorageFull);
    scene.granted(permit(2));
}

/// Otherwise requests that wait could store without end.
#[test]
fn data_that_waits_takes_the_place_of_no_other_data() {
    let mut scene = Scene::new();
    scene.granted(Acquire { data: Some(text(2_000)), ..ask(1) });
    let waits = |n, bytes| Acquire { data: Some(text(bytes)), ..wait(n) };
    let grown = |scene: &Scene, acquire| scene.decide(&Command::Acquire(acquire)).1.growth();
    assert_eq!(grown(&scene, waits(2, 2_000)), 2_000);
    assert_eq!(grown(&scene, Acquire { wait_ms: Some(0), ..waits(2, 2_000) }), 0, "nothing is stored");
    let mut scene = full(scene);
    assert_eq!(scene.refused_acquire(waits(2, 2_000)), Refusal::StorageFull);
    scene.waits(waits(2, 1_024));
}

#[test]
fn a_change_knows_the_growth_of_its_rows() {
    let grown = |scene: &Scene, command: Command| scene.decide(&command).1.growth();
    let mut scene = Scene::new();
    let acquire = || Command::Acquire(Acquire { data: Some(text(100)), ..ask(1) });
    assert_eq!(grown(&scene, acquire()), ROW_BYTES + 100);
    scene.run(&acquire());
    assert_eq!(grown(&scene, Command::Heartbeat(beat(1))), 0);
    let longer = Heartbeat { data: DataEdit::Set(text(130)), ..beat(1) };
    assert_eq!(grown(&scene, Command::Heartbeat(longer)), 30);
    let delete = Command::DeleteLock { version: Some(super::fixtures::v(1)) };
    assert_eq!(grown(&scene, delete), 0, "its row stays");
    let mut semaphore = Scene::semaphore(1);
    let permit = |n| Acquire { kind: Kind::Semaphore, data: Some(text(100)), ..ask(n) };
    assert_eq!(grown(&semaphore, Command::Acquire(permit(1))), ROW_BYTES + 100);
    semaphore.granted(permit(1));
    semaphore.release(1);
    assert_eq!(
        grown(&semaphore, Command::Acquire(permit(2))),
        0,
        "the row has data of the same size already"
    );
}
