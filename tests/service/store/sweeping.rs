//! What the sweeper removes: page by page, and nothing that is still needed.

use std::collections::{BTreeMap, BTreeSet};

use db_locks_service::{
    domain::{Command, KeyId, KeyState, Tenant, Timestamp, Token},
    store::{Store, SweepPlace},
};
use sea_orm::ConnectionTrait;

use super::{acquire, id, load, store_on, write};
use crate::{
    conformance::on_every_database,
    support::{Database, Dialect, sql},
};

on_every_database!(with_database:
    tombstones_go_once_their_tenants_floor_has_settled,
    locks_that_are_to_be_deleted_are_found_among_old_tombstones,
    rows_that_others_have_locked_do_not_keep_a_sweep_waiting,
);

/// The number of tombstones that are due.
const DUE: i64 = 30;
/// The tombstones are older.
const BEFORE: Timestamp = Timestamp(1_000);
const PAGE: u32 = 7;

const fn key_column(database: &Database) -> &'static str {
    match database.dialect {
        Dialect::Sqlite | Dialect::Postgres => "\"key\"",
        Dialect::MariaDb | Dialect::MySql => "`key`",
    }
}

/// Adds a row of a key.
async fn add_row(database: &Database, key: &str, kind: i16, token: i64, [written_at, sweep_at]: [i64; 2]) {
    let row_version = match database.dialect {
        Dialect::Sqlite => "randomblob(16)",
        Dialect::Postgres => "gen_random_uuid()",
        Dialect::MariaDb | Dialect::MySql => "random_bytes(16)",
    };
    let key_column = key_column(database);
    let insert = format!(
        "INSERT INTO locks (tenant, {key_column}, stamp, kind, token, chosen, released, delete_on_release, ended, slots, \
         waiters, next_seq, created_at_ms, updated_at_ms, sweep_at_ms) VALUES ('t', '{key}', {row_version}, {kind}, {token}, \
         false, false, false, '', 0, 0, 0, 0, {written_at}, {sweep_at})"
    );
    sql::execute(&database.url, &insert).await.unwrap();
}

/// Adds guard rows of slots of a key, which name no grant.
async fn add_guards(database: &Database, key: &str, slots: i32) {
    let key_column = key_column(database);
    let time = if database.dialect == Dialect::Sqlite { "0" } else { "'2026-01-01 00:00:00'" };
    let rows: Vec<_> = (0..slots).map(|slot| format!("('t', '{key}', {slot}, 1, {time}, '', 0)")).collect();
    let insert = format!(
        "INSERT INTO db_locks_guards (tenant, {key_column}, slot, token, granted_at, identity, uses) VALUES {}",
        rows.join(", ")
    );
    sql::execute(&database.url, &insert).await.unwrap();
}

/// Adds tombstones that are due, in both forms: every third one is from an earlier version of the program. Among these are
/// locks that are to be deleted.
async fn add_due(database: &Database) {
    for number in 0..DUE {
        let at = 10 + number;
        let sweep_at = if number % 3 == 0 { at } else { at + (1 << 60) };
        add_row(database, &format!("k{number}"), 0, number + 1, [at, sweep_at]).await;
        add_row(database, &format!("ended{number}"), 1, 1, [at, at]).await;
    }
}

/// Sweeps all tombstones, and returns the removed keys and the floors that the others need.
async fn sweep(store: &dyn Store, settle_ms: i64) -> (Vec<KeyId>, BTreeMap<Tenant, Token>) {
    let (mut removed, mut floors, mut pages) = (Vec::new(), BTreeMap::new(), 0);
    let mut from = SweepPlace::FIRST;
    loop {
        let page = store.sweep_tombstones(BEFORE, settle_ms, from, PAGE).await.unwrap();
        assert!(page.removed.len() <= PAGE as usize);
        removed.extend(page.removed);
        for (tenant, token) in page.floors {
            let floor = floors.entry(tenant).or_insert(token);
            *floor = (*floor).max(token);
        }
        pages += 1;
        assert!(pages < 20, "the pages make no progress");
        match page.next {
            Some(next) => from = next,
            None => return (removed, floors),
        }
    }
}

async fn tombstones_go_once_their_tenants_floor_has_settled(database: Database) {
    let store = store_on(&database).await;
    add_due(&database).await;
    add_row(&database, "young", 0, 1, [5_000, 5_000 + (1 << 60)]).await;
    add_guards(&database, "k4", 1).await;
    add_guards(&database, "k5", 250).await;
    add_row(&database, "guarded", 3, 1, [1, 1]).await;
    add_guards(&database, "guarded", 3).await;
    let (removed, floors) = sweep(&*store, 0).await;
    assert_eq!((removed, floors.values().copied().collect()), (vec![], vec![Token(DUE)]));
    store.raise_floors(&floors).await.unwrap();
    assert_eq!(sweep(&*store, 60_000).await.0, [], "the floor has not settled");
    let (removed, floors) = sweep(&*store, 0).await;
    assert_eq!(removed.iter().collect::<BTreeSet<_>>().len(), removed.len());
    assert_eq!((i64::try_from(removed.len()).unwrap(), floors.len()), (DUE, 0));
    assert!(removed.iter().all(|id| id.key.as_str().starts_with('k')));
    let rows = sql::number(&database.url, "SELECT count(*) FROM locks").await.unwrap();
    assert_eq!(rows, DUE + 2, "the young tombstone, and the keys that exist, stay");

    for rows in [200, 51, 0] {
        assert_eq!(store.remove_guards(&removed, 200).await.unwrap(), rows);
    }
    let existing = [id("guarded"), id("young")];
    assert_eq!(store.remove_guards(&existing, 100).await.unwrap(), 0, "their keys have rows");

    let committed = write(&id("k3"), KeyState::absent(), Timestamp(1), &[Command::Acquire(acquire("me"))]);
    let committed = store.commit(vec![committed].into()).await.unwrap();
    assert!(committed.tokens[0] > Some(Token(DUE)), "{:?}", committed.tokens);
    let (state, _) = load(&*store, &id("k3")).await;
    assert_eq!(Some(state.token), committed.tokens[0]);
}

async fn locks_that_are_to_be_deleted_are_found_among_old_tombstones(database: Database) {
    let store = store_on(&database).await;
    add_due(&database).await;
    let (mut found, mut pages, mut from) = (BTreeSet::new(), 0, SweepPlace::FIRST);
    loop {
        let page = store.ended_to_delete(BEFORE, from, PAGE).await.unwrap();
        found.extend(page.items);
        pages += 1;
        let Some(last) = page.next else { break };
        from = from.after_page(last, false);
    }
    assert_eq!(i64::try_from(found.len()).unwrap(), DUE);
    assert!(found.iter().all(|id| id.key.as_str().starts_with("ended")));
    // A page has at least six rows that are new. Tombstones that this program wrote are not among them.
    assert!(pages <= (DUE + DUE / 3) / i64::from(PAGE - 2) + 1, "{pages}");

    add_guards(&database, "left", 3).await;
    add_guards(&database, "ended1", 2).await;
    add_guards(&database, "zz", 1).await;
    let (mut orphans, mut after) = (Vec::new(), None);
    loop {
        let page = store.orphaned_guards(after.as_ref(), 2).await.unwrap();
        orphans.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(orphans, [id("left"), id("zz")]);
}

async fn rows_that_others_have_locked_do_not_keep_a_sweep_waiting(database: Database) {
    if database.dialect == Dialect::Sqlite {
        return;
    }
    let store = store_on(&database).await;
    add_due(&database).await;
    add_guards(&database, "gone", 2).await;
    let (_, floors) = sweep(&*store, 0).await;
    store.raise_floors(&floors).await.unwrap();

    let other = sql::connect(&database.url).await.unwrap();
    let row = |key: &str| format!("WHERE tenant = 't' AND {} = '{key}'", key_column(&database));
    for statement in [
        "BEGIN".to_owned(),
        format!("UPDATE locks SET token = 6 {}", row("k4")),
        format!("UPDATE db_locks_guards SET uses = 1 {} AND slot = 1", row("gone")),
    ] {
        other.execute_unprepared(&statement).await.unwrap();
    }
    assert_eq!(i64::try_from(sweep(&*store, 0).await.0.len()).unwrap(), DUE - 1);
    assert_eq!(store.remove_guards(&[id("gone")], 100).await.unwrap(), 1);
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(sweep(&*store, 0).await.0, [id("k4")]);
    assert_eq!(store.remove_guards(&[id("gone")], 100).await.unwrap(), 1);
}
