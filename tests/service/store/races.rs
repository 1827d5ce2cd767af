//! Many writers of one row: the row version lets one of them win.

use std::sync::Arc;

use db_locks_service::{domain::Command, store::Store};
use tokio::task::JoinSet;

use super::{acquire, another_on, id, load, store_on, write};
use crate::{conformance::on_every_database, support::Database};

on_every_database!(with_database:
    of_writes_decided_on_the_same_row_exactly_one_wins,
    batches_that_share_keys_do_not_deadlock,
    a_wrong_guess_that_a_row_is_new_waits_for_nobody_in_a_circle,
);

/// Guards invariant 1: two replicas never both grant.
async fn of_writes_decided_on_the_same_row_exactly_one_wins(database: Database) {
    let stores = [store_on(&database).await, another_on(&database).await];
    let id = id("raced");
    for round in 0..40 {
        let (state, now) = load(&*stores[0], &id).await;
        let mut writers = JoinSet::new();
        for number in 0..8 {
            let store = Arc::clone(&stores[number % 2]);
            // Every write is valid on the loaded state, but only one can win the row.
            let command = if round % 2 == 0 {
                Command::PutLock { data: None, guarded: None }
            } else {
                Command::DeleteLock { version: None }
            };
            let write = write(&id, state.clone(), now, &[command]);
            writers.spawn(async move {
                let row_version = write.row_version;
                (row_version, commit(&*store, write).await)
            });
        }
        let outcomes = writers.join_all().await;
        let winners: Vec<_> =
            outcomes.iter().filter(|(_, won)| *won).map(|(row_version, _)| *row_version).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(load(&*stores[1], &id).await.0.row_version, Some(winners[0]), "round {round}");
    }
}

/// Commits a write, and tries again while the database asks for that.
async fn commit(store: &dyn Store, write: db_locks_service::store::Write) -> bool {
    let writes = Arc::new(vec![write]);
    loop {
        match store.commit(Arc::clone(&writes)).await {
            Ok(committed) => return committed.tokens[0].is_some(),
            Err(db_locks_service::store::StoreError::Transient(_)) => {}
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string)),
        }
    }
}

async fn batches_that_share_keys_do_not_deadlock(database: Database) {
    let stores = [store_on(&database).await, another_on(&database).await];
    let mut tasks = JoinSet::new();
    for number in 0..4 {
        let store = Arc::clone(&stores[number % 2]);
        tasks.spawn(async move {
            for round in 0..15 {
                let mut writes = Vec::new();
                for key in 0..20 {
                    let id = id(&format!("key-{key:02}"));
                    let (state, now) = load(&*store, &id).await;
                    let command = if (key + round + number) % 3 == 0 && state.row_version.is_some() {
                        Command::DeleteLock { version: None }
                    } else {
                        Command::PutLock { data: None, guarded: None }
                    };
                    let absent = matches!(state.body, db_locks_service::domain::Body::Absent);
                    let command =
                        if absent { Command::PutLock { data: None, guarded: None } } else { command };
                    writes.push(write(&id, state, now, &[command]));
                }
                store.commit(writes.into()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let (state, now) = load(&*stores[0], &id("key-00")).await;
    let last = write(&id("key-00"), state, now, &[Command::Acquire(acquire("last"))]);
    assert!(commit(&*stores[0], last).await);
}

/// One batch wrongly assumes that the first key is new and knows the second; the other batch knows both. If the insert
/// waited for the row, they could wait for each other, and the database would refuse one as deadlocked.
async fn a_wrong_guess_that_a_row_is_new_waits_for_nobody_in_a_circle(database: Database) {
    let stores = [store_on(&database).await, another_on(&database).await];
    let (first, second) = (id("m"), id("z"));
    let put = Command::PutLock { data: None, guarded: None };
    for id in [&first, &second] {
        let (state, now) = load(&*stores[0], id).await;
        assert!(commit(&*stores[0], write(id, state, now, std::slice::from_ref(&put))).await);
    }
    for _ in 0..40 {
        let (first_state, now) = load(&*stores[0], &first).await;
        let (second_state, _) = load(&*stores[0], &second).await;
        let batch = |first_state| {
            let put = std::slice::from_ref(&put);
            Arc::new(vec![
                write(&first, first_state, now, put),
                write(&second, second_state.clone(), now, put),
            ])
        };
        let (assumed, known) = (batch(db_locks_service::domain::KeyState::absent()), batch(first_state));
        let (assumed, known) = tokio::join!(stores[0].commit(assumed), stores[1].commit(known));
        assert_eq!(assumed.unwrap().tokens[0], None, "the row was there");
        assert!(known.unwrap().tokens[0].is_some(), "nobody else knew the row");
    }
}
