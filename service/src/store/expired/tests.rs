#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{fmt::Write as _, path::PathBuf};

use sea_orm::{DbBackend, QueryFilter, QueryTrait};
use tempfile::TempDir;

use super::*;
use crate::{
    domain::{Key, Tenant},
    store::{DatabaseOptions, SweepStore, migrate_up},
};

const COLUMNS: &str =
    "token, chosen, released, owner, lease_ms, acquired_at_ms, expires_at_ms, nonce, updated_at_ms";

/// A store with locks and permits of three tenants, of which some have expired.
async fn set_up() -> (SqlStore, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locks");
    let options = DatabaseOptions::new(&format!("sqlite://{}?mode=rwc", path.display()), 2).unwrap();
    migrate_up(&options).await.unwrap();
    let mut sql = String::new();
    for number in 0..30 {
        let (tenant, key, slot) = (number / 10, number % 10, number % 4);
        // Every third has not expired, or was released, or is recorded.
        let (ends, released, nonce) = match number {
            0 => (2_000, 0, 7),
            3 => (1_000, 1, 7),
            number if number % 3 == 0 => (1_000, 0, -1),
            _ => (1_000, 0, 7),
        };
        let values = format!("randomblob(16), 7, 0, {released}, 'me', 1, 1, {ends}, {nonce}, 0");
        write!(
            sql,
            "INSERT INTO locks (tenant, \"key\", stamp, kind, delete_on_release, ended, slots, waiters, next_seq, \
             created_at_ms, version, {COLUMNS}) VALUES \
             ('t{tenant}', 'k{key}', randomblob(16), 1, 0, x'', 0, 0, 0, 0, {values}); \
             INSERT INTO permits (tenant, \"key\", slot, version, {COLUMNS}) VALUES \
             ('t{tenant}', 's{}', {slot}, {values});",
            key / 4
        )
        .unwrap();
    }
    rusqlite::Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
    (SqlStore::connect(&options).await.unwrap(), path, folder)
}

#[tokio::test]
async fn every_expired_grant_is_found_once_and_a_page_reads_no_more_rows_than_asked() {
    let (store, ..) = set_up().await;
    for limit in [1, 3, 7, 30, 100] {
        let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = store.expired_grants(Timestamp(1_000), after.as_ref(), limit).await.unwrap();
            assert!(page.items.len() <= limit as usize);
            found.extend(page.items.into_iter().map(|(id, version)| (id.key, version)));
            (pages, after) = (pages + 1, page.next);
            if after.is_none() {
                break;
            }
        }
        // 20 locks and 20 permits.
        assert_eq!(found.len(), 40, "with {limit} rows a page");
        let locks = found.iter().filter(|(key, _)| key.as_str().starts_with('k')).count();
        found.sort_by_key(|(_, version)| version.0);
        found.dedup();
        assert_eq!((found.len(), locks), (40, 20), "with {limit} rows a page");
        assert_eq!(pages, 2 * (30 / limit + 1), "with {limit} rows a page");
    }
}

/// Guards that a page does not read again what the pages before have read, also of one large tenant.
#[tokio::test]
async fn a_page_begins_to_read_at_its_position() {
    let (_, path, _folder) = set_up().await;
    let database = rusqlite::Connection::open(&path).unwrap();
    let id = KeyId { tenant: Tenant::trusted("t1"), key: Key::trusted("k5") };
    let plans = after_key(locks::Column::Tenant, locks::Column::Key, Some(&id)).into_iter().map(|range| {
        let query = locks::Entity::find().filter(range);
        let query = query.order_by_asc(locks::Column::Tenant).order_by_asc(locks::Column::Key);
        let sql = format!("EXPLAIN QUERY PLAN {}", query.build(DbBackend::Sqlite));
        let plan: String = database.query_row(&sql, [], |row| row.get("detail")).unwrap();
        plan
    });
    let plans: Vec<_> = plans.collect();
    assert!(plans[0].ends_with("(tenant=? AND key>?)") && plans[1].ends_with("(tenant>?)"), "{plans:?}");
}
