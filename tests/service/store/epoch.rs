//! Writes that were decided before the epoch was raised.

use db_locks_service::{
    domain::Command,
    store::{self, DatabaseOptions, StoreError},
};

use super::{acquire, id, load, store_on, write};
use crate::{
    conformance::on_every_database,
    support::{Database, sql::number},
};

on_every_database!(with_database:
    nothing_that_was_decided_under_an_earlier_epoch_is_written,
);

/// Guards invariant 2.
async fn nothing_that_was_decided_under_an_earlier_epoch_is_written(database: Database) {
    let store = store_on(&database).await;
    let (one, two) = (id("one"), id("two"));
    let (state, now) = load(&*store, &one).await;
    let grant = write(&one, state.clone(), now, &[Command::Acquire(acquire("one"))]);
    let put = write(&two, state, now, &[Command::PutLock { data: None, guarded: None }]);
    let before = store.epoch();
    let raised = store::raise_epoch(&DatabaseOptions::new(&database.url, 4).unwrap()).await.unwrap();
    assert!(raised.epoch > before && raised.ended == 0);
    store.check_ready().await.unwrap();
    for (id, decided) in [(&one, grant), (&two, put)] {
        match store.commit(vec![decided].into()).await {
            Ok(committed) => assert_eq!(committed.tokens, [None], "it has lost its race"),
            Err(StoreError::Transient(_)) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(load(&*store, id).await.0.row_version, None);
    }
    assert_eq!(store.epoch(), raised.epoch);
    // A standby that was promoted before the service met this server must not count as the same server.
    let known = number(&database.url, "SELECT count(identity) FROM db_locks_epoch").await.unwrap();
    assert_eq!(known, i64::from(!database.url.starts_with("sqlite")));
    let (state, now) = load(&*store, &two).await;
    let mut again = write(&two, state, now, &[Command::PutLock { data: None, guarded: None }]);
    again.change.decided_under = Some(store.epoch());
    let committed = store.commit(vec![again].into()).await.unwrap();
    assert!(committed.tokens[0].is_some(), "it was decided again");
}
