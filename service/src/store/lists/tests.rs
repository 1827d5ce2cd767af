#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf, time::Duration};

use sea_orm::{DbBackend, Select};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::{
    queries::{Span, that_pass, with_keys},
    ranges::ranges,
    search::WINDOW,
    turns::Turns,
    *,
};
use crate::{
    access::KeyPatterns,
    domain::Timestamp,
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

/// The keys of those rows that pass.
fn expected(keys: &KeyFilter, passes: impl Fn(Row) -> bool) -> Vec<String> {
    let has_key = |key: &String| {
        keys.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
            && keys.patterns.as_ref().is_none_or(|patterns| patterns.matches(key))
    };
    (0..KEYS).filter(|number| passes(row(*number))).map(key).filter(has_key).collect()
}

/// Selections of keys: all, many, few, none, a part of a window, and several ranges.
fn selections() -> Vec<KeyFilter> {
    let few: [&[&str]; 5] = [&["*x"], &["0012*", "009*"], &["*409?"], &["x*", "*1?7"], &["009999"]];
    let few = few.map(|patterns| of_keys(None, patterns));
    [&few[..], &[of_keys(None, &[]), of_keys(Some("004"), &["00*"]), of_keys(Some("z"), &["*"])]].concat()
}

#[tokio::test]
async fn all_pages_together_have_every_lock_once_however_early_they_end() {
    for page_for in [Duration::from_mins(1), Duration::ZERO] {
        let lists = Lists::new(page_for).await;
        for keys in selections() {
            for (owner, locked) in [
                (None, None),
                (Some("me"), None),
                (Some("nobody"), None),
                (None, Some(true)),
                (None, Some(false)),
            ] {
                let passes = |row| match (owner, locked) {
                    (None, None) => matches!(row, Row::Free | Row::Held),
                    (None, Some(false)) => row == Row::Free,
                    (Some("me"), _) | (None, Some(true)) => row == Row::Held,
                    (Some(_), _) => false,
                };
                let expected = expected(&keys, passes);
                let owner = owner.map(|owner| Owner::new(owner).unwrap());
                let filter = LockFilter { keys: keys.clone(), owner, locked };
                let limit = u32::try_from(expected.len() / 3).unwrap().max(1);
                let (found, pages) = lists.locks(&filter, limit).await;
                assert_eq!(found, expected, "{filter:?}");
                let most = expected.len() / limit as usize + 1;
                assert!(page_for.is_zero() || pages <= most, "{pages} pages of {filter:?}");
            }
        }
    }
}

#[tokio::test]
async fn all_pages_together_have_every_semaphore_once_however_early_they_end() {
    for page_for in [Duration::from_mins(1), Duration::ZERO] {
        let lists = Lists::new(page_for).await;
        for keys in
            [of_keys(None, &[]), of_keys(None, &["0012*", "009*"]), of_keys(Some("0"), &["x*", "*1?3"])]
        {
            let expected = expected(&keys, |row| row == Row::Semaphore);
            assert_eq!(lists.semaphores(&keys, 700).await.0, expected, "{keys:?}");
        }
    }
}

/// Guards the lists of other tenants, which wait for each statement: no statement looks at more keys than a window has.
#[tokio::test]
async fn a_list_that_finds_nothing_goes_on_window_by_window() {
    let lists = Lists::new(Duration::ZERO).await;
    let nobody = Some(Owner::new("nobody").unwrap());
    let windows = KEYS.div_ceil(WINDOW);
    let filter = LockFilter { owner: nobody, ..LockFilter::default() };
    assert_eq!(lists.locks(&filter, 100).await, (Vec::new(), windows));
}

#[tokio::test]
async fn all_pages_together_have_every_active_permit_once() {
    for page_for in [Duration::from_mins(1), Duration::ZERO] {
        let lists = Lists::new(page_for).await;
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(&key(3)) };
        // Few are active among the first ones, and all of the last ones are.
        let active: BTreeSet<i32> = (0..9_000).filter(|slot| slot % 1_000 == 500 || *slot >= 8_900).collect();
        let mut rows = Vec::new();
        for slot in (0..5_000).chain(8_000..9_000) {
            let released = i32::from(!active.contains(&slot));
            rows.push(format!(
                "('t', '000003', {slot}, randomblob(16), 0, 7, 'me', 1000, 0, 9000000000000, {released}, 1, 0)"
            ));
        }
        let insert = format!(
            "INSERT INTO permits (tenant, \"key\", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, \
             expires_at_ms, released, nonce, updated_at_ms) VALUES {}",
            rows.join(",")
        );
        rusqlite::Connection::open(&lists.path).unwrap().execute_batch(&insert).unwrap();
        let expected: Vec<i32> = active.into_iter().filter(|slot| !(5_000..8_000).contains(slot)).collect();
        for limit in [1, 7, 1_000] {
            let (mut tokens, mut after, mut slots) = (0, None, Vec::new());
            loop {
                let page = lists.store.clone().list_permits(id.clone(), after, limit).await.unwrap();
                tokens += page.items.len();
                slots.extend(after);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(tokens, expected.len());
            assert!(slots.is_sorted_by(|one, next| one < next), "{slots:?}");
        }
    }
}

/// Guards the size of windows: a statement reads no more than the keys between its bounds, in their order.
#[tokio::test]
async fn the_primary_key_finds_what_a_statement_searches() {
    let lists = Lists::new(Duration::ZERO).await;
    let database = rusqlite::Connection::open(&lists.path).unwrap();
    let plan = |query: Select<locks::Entity>| {
        let sql = format!("EXPLAIN QUERY PLAN {}", query.build(DbBackend::Sqlite));
        let mut statement = database.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>("detail")).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    };
    let (tenant, after, end) = (Tenant::trusted("t"), Key::trusted("000100"), Key::trusted("004195"));
    let owner = Some(Owner::new("me").unwrap());
    let filter = LockFilter { keys: of_keys(Some("00"), &[]), owner, locked: None };
    let ranges = ranges(&filter.keys, None);
    let span = Span { tenant: &tenant, range: &ranges[0], after: Some(&after), up_to: None };
    let found = plan(span.keys().offset(4_095).limit(1));
    assert!(
        found.starts_with("SEARCH locks USING COVERING INDEX") && found.contains("key>? AND key<?"),
        "{found}"
    );
    let window = Span { up_to: Some(&end), ..span };
    let now = Timestamp(0);
    let named = with_keys(&tenant, &["a", "b", "c"].map(str::to_owned));
    for (query, bounds) in [
        (span.rows(), "(tenant=? AND key>? AND key<?)"),
        (that_pass(window.rows(), &MUTEXES, &filter, now), "(tenant=? AND key>? AND key<?)"),
        (that_pass(named, &MUTEXES, &filter, now), "(tenant=? AND key=?)"),
    ] {
        let found = plan(query.limit(100));
        assert!(found.starts_with("SEARCH locks USING INDEX") && found.contains(bounds), "{found}");
        assert_eq!(found.lines().count(), 1, "it sorts nothing: {found}");
    }
}

/// A statement that is dropped makes every connection suspect, so batches would have to connect again.
#[tokio::test]
async fn a_list_whose_caller_hangs_up_ends_after_its_statement() {
    let lists = Lists::new(Duration::ZERO).await;
    let (step, mut steps) = mpsc::unbounded_channel();
    let (answer, answered) = oneshot::channel();
    let page = lists.store.clone().read_page(
        None,
        |store| &store.list,
        move |_, turn| {
            Box::pin(async move {
                step.send("statement").unwrap();
                answered.await.unwrap();
                step.send("answer").unwrap();
                turn.let_others().await?;
                step.send("next statement").unwrap();
                Ok(())
            })
        },
    );
    let page = tokio::spawn(page);
    assert_eq!(steps.recv().await, Some("statement"));
    page.abort();
    assert!(page.await.is_err());
    answer.send(()).unwrap();
    assert_eq!((steps.recv().await, steps.recv().await), (Some("answer"), None));
}
