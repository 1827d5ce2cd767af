//! The deletion of semaphores with many permits, in steps.

use std::collections::BTreeMap;

use super::fixtures::{START, Scene, ask, release, v, wait_chosen};
use crate::domain::{
    Acquire, Body, BusyCount, Command, Data, Decided, EndedVersions, Grant, KeyChange, KeyState, Kind,
    LeaveReason, Need, Owner, Permit, Permits, Refusal, Reply, RequestId, Timestamp, Token, Verdict,
    VersionDigest,
};

/// A semaphore whose permits are in rows of their own, as in a database.
struct Rows {
    scene: Scene,
    permits: BTreeMap<i32, Permit>,
}

impl Rows {
    /// A semaphore with ended permits. The tokens are in another order than the slots, and some versions were chosen.
    fn of(slots: i32, data: Option<&Data>) -> Self {
        let mut scene = Scene::semaphore(slots);
        let permits = (0..slots).map(|slot| (slot, ended(slot, slots, data.cloned()))).collect();
        let Body::Semaphore(semaphore) = &mut scene.state.body else { panic!("it is a semaphore") };
        semaphore.permits.slots = slots;
        scene.state.token = Token(i64::from(slots));
        Self { scene, permits }
    }

    /// The state as a store loads it for a deletion.
    fn load(&mut self) {
        let all: Vec<_> = self.permits.values().cloned().collect();
        let mut known = all.clone();
        known.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
        known.truncate(64);
        let Body::Semaphore(semaphore) = &mut self.scene.state.body else { panic!("it is a semaphore") };
        let (unknown_from, slots) =
            (known.last().map(|permit| permit.grant.expires_at), semaphore.permits.slots);
        let busy_counted = Some(BusyCount { busy: 0, at: Timestamp(self.scene.now) });
        semaphore.permits = Permits { known, slots, unknown_from, busy_counted, ..Permits::default() };
        semaphore.permits.add_latest_chosen(&all);
    }

    /// Decides a deletion and writes its rows.
    fn delete(&mut self) -> (Decided, KeyChange) {
        let (decided, change) = self.scene.decide(&Command::DeleteSemaphore);
        assert!(change.dirty, "{decided:?}");
        let from = change.cleared_from.unwrap();
        self.permits.retain(|slot, _| *slot < from);
        let mut slots = 0;
        if let Body::Semaphore(semaphore) = &change.state.body {
            slots = semaphore.permits.slots;
            for slot in &change.permits {
                let permit = semaphore.permits.known.iter().find(|permit| permit.slot == *slot).unwrap();
                self.permits.insert(*slot, permit.clone());
            }
        }
        assert!(self.permits.keys().copied().eq(0..slots), "the first slots are left, each with a row");
        self.scene.state = KeyState::clone(&change.state);
        if let Body::Semaphore(semaphore) = &mut self.scene.state.body {
            // As a cache does.
            semaphore.permits.trim(256);
        }
        (decided, change)
    }
}

/// A permit that has ended.
fn ended(slot: i32, slots: i32, data: Option<Data>) -> Permit {
    let token = i64::from((slot + slots / 2) % slots) + 1;
    let grant = Grant {
        version: v(u128::try_from(token).unwrap()),
        chosen: token % 3 == 0,
        token: Token(token),
        owner: Owner::trusted("holder"),
        lease_ms: 1_000,
        acquired_at: Timestamp(START - 2_000),
        expires_at: Timestamp(START - 1_000 - i64::from(slot % 700)),
        released: slot % 2 == 0,
        delete_on_release: false,
        request_id: RequestId(0),
    };
    Permit { slot, grant, data, updated_at: Timestamp(START - 2_000) }
}

/// The digests of the latest chosen versions of a semaphore with so many slots.
fn latest_chosen(slots: i32) -> Vec<VersionDigest> {
    let chosen = (1..=u128::try_from(slots).unwrap()).filter(|token| token % 3 == 0);
    let mut digests: Vec<_> = chosen.map(|token| VersionDigest::of(v(token))).collect();
    digests.drain(..digests.len().saturating_sub(EndedVersions::AT_MOST));
    digests
}

/// Invariant 9: a deletion in steps remembers the same versions as one in a single step.
#[test]
fn steps_remember_the_latest_chosen_versions() {
    for (slots, steps) in [(1_000, 1), (1_001, 2), (2_500, 3), (5_000, 5)] {
        for loads_again in [false, true] {
            let mut rows = Rows::of(slots, None);
            rows.load();
            for step in 1..steps {
                let (decided, change) = rows.delete();
                assert_eq!(decided, Err(Need::NextBatch), "step {step} of {slots}");
                assert!(change.state.ended.as_slice().is_empty(), "a step remembers nothing");
                if loads_again {
                    rows.load();
                }
            }
            assert_eq!(rows.delete().0, Ok(Verdict::Reply(Reply::Deleted)), "{slots}");
            let ended = rows.scene.state.ended.as_slice().iter().map(|ended| ended.digest);
            assert_eq!(ended.collect::<Vec<_>>(), latest_chosen(slots), "{slots}");
            assert!(rows.permits.is_empty());
        }
    }
}

/// Guards that the commit of one step does not take the data of a thousand permits, which other keys would wait for.
#[test]
fn a_step_deletes_fewer_permits_with_much_data() {
    let mut rows = Rows::of(300, Some(&Data::trusted(&"x".repeat(32_000))));
    rows.load();
    let mut steps = Vec::new();
    while let (Err(Need::NextBatch), change) = rows.delete() {
        assert!(change.bytes() < 5 << 20, "{} bytes", change.bytes());
        steps.push(change.cleared_from);
    }
    assert_eq!(steps, [Some(170), Some(64)], "64 versions are remembered");
}

/// As above, for the data of those that wait.
#[test]
fn a_step_removes_fewer_waiters_with_much_data() {
    let mut scene = Scene::semaphore(1);
    let acquire = |n| Acquire { kind: Kind::Semaphore, ..wait_chosen(n) };
    scene.granted(acquire(1));
    let large = Data::trusted(&"x".repeat(32_000));
    for n in 2..302 {
        scene.waits(Acquire { data: Some(large.clone()), ..acquire(n) });
        let (version, request_id) = (v(n.into()), RequestId(n.into()));
        scene.run(&Command::Leave { version, request_id, reason: LeaveReason::HungUp });
    }
    scene.now += 1_001;
    let mut left = vec![scene.state.queue.len];
    loop {
        let (decided, change) = scene.decide(&Command::DeleteSemaphore);
        assert!(change.bytes() < 5 << 20, "{} bytes", change.bytes());
        scene.state = KeyState::clone(&change.state);
        left.push(scene.state.queue.len);
        if decided == Ok(Verdict::Reply(Reply::Deleted)) {
            break;
        }
        assert_eq!(decided, Err(Need::NextBatch));
    }
    assert_eq!(left, [300, 169, 38, 0]);
}

/// Invariant 1: the semaphore stays usable between two steps, and a permit ends the deletion.
#[test]
fn a_permit_that_is_granted_between_two_steps_ends_the_deletion() {
    let mut rows = Rows::of(2_500, None);
    rows.load();
    assert_eq!(rows.delete().0, Err(Need::NextBatch));
    let scene = &mut rows.scene;
    let granted = scene.granted(Acquire { kind: Kind::Semaphore, ..ask(9) });
    assert_eq!(granted.fencing_token.0, 2_501, "invariant 2");
    let Body::Semaphore(semaphore) = &scene.state.body else { panic!("it is a semaphore") };
    assert_eq!(semaphore.permits.slots, 1_500);
    assert!(matches!(scene.decide(&Command::DeleteSemaphore).0, Err(Need::Permits(_))), "it loads again");
    let Body::Semaphore(semaphore) = &mut scene.state.body else { panic!("it is a semaphore") };
    semaphore.permits.busy_counted = Some(BusyCount { busy: 1, at: Timestamp(scene.now) });
    let Refusal::InUse(holders) = scene.refused(&Command::DeleteSemaphore) else {
        panic!("refused otherwise")
    };
    assert_eq!(holders.len(), 1);
    scene.run(&release(9));
}

/// After a step back of the clock, permits that had ended may seem to be active again.
#[test]
fn a_step_counts_again_after_a_step_back_of_the_clock() {
    let mut rows = Rows::of(2_500, None);
    rows.load();
    assert_eq!(rows.delete().0, Err(Need::NextBatch));
    rows.scene.now -= 1_500;
    assert!(matches!(rows.scene.decide(&Command::DeleteSemaphore).0, Err(Need::Permits(_))));
}
