//! The pages of a list, which together have everything once.

use std::collections::BTreeSet;

use super::{super::search::WINDOW, *};

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
