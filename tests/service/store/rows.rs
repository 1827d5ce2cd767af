//! Rows are read as they were written, and without anything else.

use db_locks_service::{
    domain::{
        Acquire, Body, Command, Data, EndedVersion, EndedVersions, KeyState, Kind, Permit, RequestId,
        Timestamp, Version, VersionDigest,
    },
    store::{self, DatabaseOptions},
};
use uuid::Uuid;

use super::{acquire, id, load, store_on, write};
use crate::{conformance::on_every_database, support::Database};

on_every_database!(with_database:
    every_field_comes_back_as_it_was,
    permits_and_waiters_come_back_in_their_order,
    permits_are_deleted_from_a_slot_on_before_others_are_written,
    a_write_never_creates_a_row_that_it_was_not_decided_on,
    a_row_that_is_gone_costs_the_others_of_its_batch_nothing,
    keys_outlive_a_step_of_the_schema_down_and_up_again,
    waiters_are_written_only_for_rows_that_win,
    keys_are_compared_byte_for_byte,
);

async fn every_field_comes_back_as_it_was(database: Database) {
    let store = store_on(&database).await;
    let id = id("a \u{1F512} 'quoted' \\ %_");
    let mut command = acquire("öwner \u{10FFFF}");
    command.data = Some(Data::new("line\n\"two\"\t\u{1}").unwrap());
    command.delete_on_release = true;
    let (_, now) = load(&*store, &id).await;
    let mut state = KeyState::absent();
    // Times of ended versions are kept in whole minutes.
    let at = Timestamp(now.0 / 60_000 * 60_000);
    let ended = |number| EndedVersion { digest: VersionDigest::of(Version(Uuid::from_u128(number))), at };
    state.ended = EndedVersions::new((1..=64).map(ended).collect());
    let write = write(&id, state, now, &[Command::Acquire(command)]);
    let committed = store.commit(vec![write.clone()].into()).await.unwrap();
    assert_eq!(committed.tokens, vec![Some(write.change.state.token)]);
    let (mut read, _) = load(&*store, &id).await;
    let mut expected = write.change.state;
    expected.row_version = Some(write.row_version);
    read.queue.asked.clear();
    assert_eq!(read, *expected);
}

async fn permits_and_waiters_come_back_in_their_order(database: Database) {
    let store = store_on(&database).await;
    let id = id("s");
    let (state, now) = load(&*store, &id).await;
    let create = write(
        &id,
        state,
        now,
        &[Command::PutSemaphore {
            max_size: 2,
            lease_ms: Some(9_000),
            default_lease_ms: db_locks_service::domain::DEFAULT_LEASE_MS,
            guarded: None,
        }],
    );
    store.commit(vec![create].into()).await.unwrap();
    let (state, now) = load(&*store, &id).await;
    let commands: Vec<_> = (0..5)
        .map(|number| {
            let mut command = acquire(&format!("owner-{number}"));
            command.kind = Kind::Semaphore;
            command.request_id = RequestId(number);
            command.wait_ms = Some(1_000);
            Command::Acquire(command)
        })
        .collect();
    let change = write(&id, state, now, &commands);
    store.commit(vec![change.clone()].into()).await.unwrap();
    let (mut read, _) = load(&*store, &id).await;
    read.queue.asked.clear();
    assert_eq!(read.queue, change.change.state.queue);
    assert_eq!(read.queue.len, 3);
    assert_eq!(read.body, change.change.state.body);
}

/// A deletion in steps deletes the permits of the last slots, and moves some of them to earlier slots. `beside` writes lose
/// their races, which is found out step by step on some databases.
async fn permits_are_deleted_from_a_slot_on_before_others_are_written(database: Database) {
    let store = store_on(&database).await;
    for (key, loses) in [("alone", false), ("beside", true)] {
        let id = id(key);
        let (state, now) = load(&*store, &id).await;
        let put =
            Command::PutSemaphore { max_size: 5, lease_ms: None, default_lease_ms: 9_000, guarded: None };
        store.commit(vec![write(&id, state, now, &[put])].into()).await.unwrap();
        let (state, now) = load(&*store, &id).await;
        let permit = || Command::Acquire(Acquire { kind: Kind::Semaphore, ..acquire("owner") });
        let permits: Vec<_> = std::iter::repeat_with(permit).take(5).collect();
        store.commit(vec![write(&id, state, now, &permits)].into()).await.unwrap();
        let (state, now) = load(&*store, &id).await;
        let mut step = write(&id, state, now, &[]);
        let Body::Semaphore(semaphore) = &mut step.change.state.body else { panic!("it is a semaphore") };
        let known = &mut semaphore.permits.known;
        // The permit of the last slot moves to slot 1, and slots 3 and 4 are deleted.
        known.sort_by_key(|permit| permit.slot);
        let moved = Permit { slot: 1, ..known[4].clone() };
        known.truncate(3);
        known[1] = moved;
        semaphore.permits.slots = 3;
        (step.change.dirty, step.change.cleared_from) = (true, Some(3));
        step.change.permits.insert(1);
        let mut batch = vec![step.clone()];
        if loses {
            let mut late =
                write(&super::id("late"), KeyState::absent(), now, &[Command::Acquire(acquire("late"))]);
            late.prev = Some(db_locks_service::domain::RowVersion(Uuid::new_v4()));
            batch.push(late);
        }
        let committed = store.commit(batch.into()).await.unwrap();
        assert_eq!(committed.tokens[0], Some(step.change.state.token));
        let (mut read, _) = load(&*store, &id).await;
        let Body::Semaphore(semaphore) = &mut read.body else { panic!("it is a semaphore") };
        semaphore.permits.known.sort_by_key(|permit| permit.slot);
        assert_eq!(read.body, step.change.state.body);
    }
}

async fn a_write_never_creates_a_row_that_it_was_not_decided_on(database: Database) {
    let store = store_on(&database).await;
    let id = id("gone");
    let (mut state, now) = load(&*store, &id).await;
    state.row_version = Some(db_locks_service::domain::RowVersion(Uuid::new_v4()));
    let write = write(&id, state, now, &[Command::Acquire(acquire("late"))]);
    let committed = store.commit(vec![write].into()).await.unwrap();
    assert_eq!(committed.tokens, vec![None]);
    assert_eq!(load(&*store, &id).await.0.row_version, None);
}

async fn a_row_that_is_gone_costs_the_others_of_its_batch_nothing(database: Database) {
    let store = store_on(&database).await;
    let put = Command::PutLock { data: None, guarded: None };
    let (absent, now) = load(&*store, &id("a")).await;
    let known = write(&id("c"), absent.clone(), now, std::slice::from_ref(&put));
    store.commit(vec![known].into()).await.unwrap();
    let (state, now) = load(&*store, &id("c")).await;
    let gone = KeyState {
        row_version: Some(db_locks_service::domain::RowVersion(Uuid::new_v4())),
        ..absent.clone()
    };
    let batch = vec![
        write(&id("a"), absent, now, std::slice::from_ref(&put)),
        write(&id("b"), gone, now, &[Command::Acquire(acquire("late"))]),
        write(&id("c"), state, now, &[Command::Acquire(acquire("in time"))]),
    ];
    let committed = store.commit(batch.into()).await.unwrap();
    assert_eq!(committed.tokens.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(load(&*store, &id("b")).await.0.row_version, None);
}

/// Guards invariant 2: a migration that only changes the storage of keys loses none of their tokens.
async fn keys_outlive_a_step_of_the_schema_down_and_up_again(database: Database) {
    let id = id("kept");
    let before = {
        let store = store_on(&database).await;
        let (state, now) = load(&*store, &id).await;
        let hold = write(&id, state, now, &[Command::Acquire(acquire("holder"))]);
        store.commit(vec![hold].into()).await.unwrap();
        load(&*store, &id).await.0
    };
    let options = DatabaseOptions::new(&database.url, 4).unwrap();
    store::migrate_down(&options).await.unwrap();
    store::migrate_up(&options).await.unwrap();
    let store = store_on(&database).await;
    assert_eq!(load(&*store, &id).await.0, before);
}

async fn waiters_are_written_only_for_rows_that_win(database: Database) {
    let store = store_on(&database).await;
    let id = id("contended");
    let (state, now) = load(&*store, &id).await;
    let hold = write(&id, state, now, &[Command::Acquire(acquire("holder"))]);
    store.commit(vec![hold].into()).await.unwrap();
    let (state, now) = load(&*store, &id).await;
    let mut waiting = acquire("waiter");
    waiting.wait_ms = Some(5_000);
    let first = write(&id, state.clone(), now, &[Command::Acquire(waiting.clone())]);
    waiting.version = Version(Uuid::new_v4());
    let second = write(&id, state, now, &[Command::Acquire(waiting)]);
    assert!(store.commit(vec![first].into()).await.unwrap().tokens[0].is_some());
    assert!(store.commit(vec![second].into()).await.unwrap().tokens[0].is_none());
    let (read, _) = load(&*store, &id).await;
    assert_eq!((read.queue.len, read.queue.head.len()), (1, 1));
}

async fn keys_are_compared_byte_for_byte(database: Database) {
    let store = store_on(&database).await;
    let names = ["A", "a", "a ", "\u{e4}", "a\u{308}", "ss", "\u{df}"];
    for name in names {
        let id = id(name);
        let (state, now) = load(&*store, &id).await;
        assert_eq!(state.row_version, None, "{name:?} is no other key");
        let write = write(&id, state, now, &[Command::Acquire(acquire(name))]);
        assert!(store.commit(vec![write].into()).await.unwrap().tokens[0].is_some(), "{name:?}");
    }
    let tenant = id("x").tenant;
    let page =
        store.list_locks(tenant, db_locks_service::store::LockFilter::default(), None, 100).await.unwrap();
    let listed: Vec<_> = page.items.iter().map(|view| view.id.key.as_str().to_owned()).collect();
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    assert_eq!(listed, sorted, "in byte order");
}
