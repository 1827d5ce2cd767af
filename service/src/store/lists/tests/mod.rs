//! Lists over a tenant with thousands of keys.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod pages;
mod statements;

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::{turns::Turns, *};
use crate::{
    access::KeyPatterns,
    store::{DatabaseOptions, migrate_up},
};

/// The number of keys. They need three windows.
const KEYS: usize = 10_000;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Free,
    Held,
    Semaphore,
    Tombstone,
}

/// Lists over a tenant with [`KEYS`] keys.
struct Lists {
    store: Arc<SqlStore>,
    path: PathBuf,
    _folder: TempDir,
}

fn key(number: usize) -> String {
    format!("{number:06}")
}

/// What is stored under a key.
const fn row(number: usize) -> Row {
    match number {
        // Keys at the ends of windows, and at both ends.
        0 | 17 | 4_093..=4_097 | 8_191 | 9_999 => Row::Held,
        _ => match number % 10 {
            3 => Row::Semaphore,
            6 => Row::Tombstone,
            _ => Row::Free,
        },
    }
}

impl Lists {
    /// A page is read for `page_for`.
    async fn new(page_for: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks");
        let options = DatabaseOptions::new(&format!("sqlite://{}?mode=rwc", path.display()), 2).unwrap();
        migrate_up(&options).await.unwrap();
        let mut rows = String::new();
        for number in 0..KEYS {
            let key = key(number);
            let (kind, version, owner, ends) = match row(number) {
                Row::Free => (1, "NULL", "NULL", "NULL"),
                Row::Held => (1, "randomblob(16)", "'me'", "9000000000000"),
                Row::Semaphore => (2, "NULL", "NULL", "NULL"),
                Row::Tombstone => (0, "NULL", "NULL", "NULL"),
            };
            let comma = if number == 0 { "" } else { "," };
            let of_grant = format!("{version}, {owner}, 1000, {ends}, {ends}, 1");
            write!(
                rows,
                "{comma}('t', '{key}', randomblob(16), {kind}, 7, 0, 0, 0, x'', 1, 0, 0, 0, 0, 0, {of_grant})"
            )
            .unwrap();
        }
        let insert = format!(
            "INSERT INTO locks (tenant, \"key\", stamp, kind, token, chosen, released, delete_on_release, ended, max_size, \
             slots, waiters, next_seq, created_at_ms, updated_at_ms, version, owner, lease_ms, acquired_at_ms, \
             expires_at_ms, nonce) VALUES {rows}"
        );
        rusqlite::Connection::open(&path).unwrap().execute_batch(&insert).unwrap();
        let mut store = SqlStore::connect(&options).await.unwrap();
        store.turns = Turns::with_pages_of(page_for, 2);
        Self { store: Arc::new(store), path, _folder: folder }
    }

    async fn locks(&self, filter: &LockFilter, limit: u32) -> (Vec<String>, usize) {
        let page = |after| self.store.clone().list_locks(Tenant::trusted("t"), filter.clone(), after, limit);
        all_pages(limit, |view: &LockView| view.id.clone(), page).await
    }

    async fn semaphores(&self, filter: &KeyFilter, limit: u32) -> (Vec<String>, usize) {
        let page =
            |after| self.store.clone().list_semaphores(Tenant::trusted("t"), filter.clone(), after, limit);
        all_pages(limit, |view: &SemaphoreView| view.id.clone(), page).await
    }
}

/// The keys of all pages of a list, and the number of its pages.
async fn all_pages<T, P: Future<Output = Result<Page<T, Key>, StoreError>>>(
    limit: u32,
    id: impl Fn(&T) -> KeyId,
    page: impl Fn(Option<Key>) -> P,
) -> (Vec<String>, usize) {
    let (mut keys, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = page(after).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        pages += 1;
        keys.extend(page.items.iter().map(|view| id(view).key.as_str().to_owned()));
        after = page.next;
        if after.is_none() {
            return (keys, pages);
        }
    }
}

fn of_keys(prefix: Option<&str>, patterns: &[&str]) -> KeyFilter {
    let globs = patterns.iter().map(|glob| glob.parse().unwrap()).collect();
    let patterns = (!patterns.is_empty()).then(|| KeyPatterns::new(globs).unwrap());
    KeyFilter { prefix: prefix.map(str::to_owned), patterns }
}
