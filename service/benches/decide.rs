//! Decisions a second and allocations of the core: `cargo bench -p db-locks-service --bench decide`.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::sync::LazyLock;

use db_locks_service::domain::{
    Acquire, Command, Context, Data, DataEdit, Heartbeat, Key, KeyChange, KeyId, KeyState, Kind, Now, Owner,
    Release, ReplicaId, RequestId, RowVersion, Tenant, Version,
};
use divan::{AllocProfiler, Bencher, black_box};
use uuid::Uuid;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn key() -> KeyId {
    KeyId { tenant: Tenant::new("bench").unwrap(), key: Key::new("deploy/production").unwrap() }
}

fn version(n: u32) -> Version {
    Version(Uuid::from_u128(n.into()))
}

fn acquire(n: u32, kind: Kind, wait_ms: i64) -> Command {
    Command::Acquire(Acquire {
        kind,
        owner: Owner::new("ci-42").unwrap(),
        lease_ms: Some(30_000),
        wait_ms: Some(wait_ms),
        additional_wait_ms: 0,
        max_wait_ms: 600_000,
        data: Some(Data::new("build 811").unwrap()),
        replace_data: false,
        delete_on_release: false,
        only_if_exists: false,
        version: version(n),
        chosen: false,
        retried: false,
        request_id: RequestId(n.into()),
    })
}

fn release(n: u32) -> Command {
    let (kind, version) = (Kind::Mutex, version(n));
    Command::Release(Release { kind, version, data: DataEdit::Keep, delete_lock: false })
}

/// Decides commands one after another, as if each were written.
fn after(mut state: KeyState, commands: impl IntoIterator<Item = Command>) -> KeyState {
    for command in commands {
        state = *decide(state, &command).state;
        state.row_version = Some(RowVersion(Uuid::from_u128(1)));
    }
    state
}

/// The facts that decisions depend on. Created once, as the engine does for each batch.
static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context {
    me: Some(ReplicaId(Uuid::from_u128(1))),
    ..Context::alone(Now::exactly(1_000_000))
});

fn decide(state: KeyState, command: &Command) -> KeyChange {
    let mut change = KeyChange::new(key(), state);
    let decided = change.decide(command, &CONTEXT);
    let _ = black_box(decided.unwrap());
    change
}

fn measure(bencher: Bencher<'_, '_>, state: &KeyState, command: &Command) {
    bencher
        .counter(divan::counter::ItemsCount::new(1_u32))
        .with_inputs(|| state.clone())
        .bench_values(|state| decide(state, black_box(command)));
}

#[divan::bench]
fn acquire_uncontended(bencher: Bencher<'_, '_>) {
    measure(bencher, &KeyState::absent(), &acquire(1, Kind::Mutex, 0));
}

#[divan::bench]
fn heartbeat(bencher: Bencher<'_, '_>) {
    let state = after(KeyState::absent(), [acquire(1, Kind::Mutex, 0)]);
    let (kind, version, request_id) = (Kind::Mutex, version(1), RequestId(2));
    let beat = Heartbeat { kind, version, lease_ms: None, data: DataEdit::Keep, request_id };
    measure(bencher, &state, &Command::Heartbeat(beat));
}

#[divan::bench]
fn release_uncontended(bencher: Bencher<'_, '_>) {
    let state = after(KeyState::absent(), [acquire(1, Kind::Mutex, 0)]);
    measure(bencher, &state, &release(1));
}

/// A lock with 256 waiters: each release hands over.
#[divan::bench]
fn release_with_a_queue_of_256(bencher: Bencher<'_, '_>) {
    let state = after(KeyState::absent(), (1..=257).map(|n| acquire(n, Kind::Mutex, 60_000)));
    measure(bencher, &state, &release(1));
}

#[divan::bench]
fn enqueue_behind_256(bencher: Bencher<'_, '_>) {
    let state = after(KeyState::absent(), (1..=257).map(|n| acquire(n, Kind::Mutex, 60_000)));
    measure(bencher, &state, &acquire(300, Kind::Mutex, 60_000));
}

/// A semaphore of 100 with one free permit.
#[divan::bench]
fn acquire_the_last_of_100_permits(bencher: Bencher<'_, '_>) {
    let put =
        Command::PutSemaphore { max_size: 100, lease_ms: None, default_lease_ms: 15_000, guarded: None };
    let permits = (1..100).map(|n| acquire(n, Kind::Semaphore, 0));
    let state = after(KeyState::absent(), std::iter::once(put).chain(permits));
    measure(bencher, &state, &acquire(100, Kind::Semaphore, 0));
}

#[divan::bench]
fn release_one_of_100_permits(bencher: Bencher<'_, '_>) {
    let put =
        Command::PutSemaphore { max_size: 100, lease_ms: None, default_lease_ms: 15_000, guarded: None };
    let permits = (1..=100).map(|n| acquire(n, Kind::Semaphore, 0));
    let state = after(KeyState::absent(), std::iter::once(put).chain(permits));
    measure(bencher, &state, &release(50));
}
