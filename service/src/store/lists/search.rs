//! Searches the keys of a tenant for the rows that a list shows, by statements of which each looks at a few thousand keys.
//!
//! No index has owners, kinds or what key patterns match. A single statement that searches for them could look at all keys
//! of a tenant, and nothing would interrupt it for the lists of other tenants. So the end of a window of keys is found first,
//! in the index alone, and another statement searches the window.

use std::{mem, time::Duration};

use db_locks_entity::locks;
use sea_orm::{DbErr, QuerySelect, Select};
use tokio::time::Instant;

use super::{
    queries::{Span, that_pass, with_keys},
    ranges::{KeyRange, ranges},
};
use crate::{
    domain::{Key, Tenant, Timestamp},
    store::{LockFilter, sql_store::SqlStore},
};

/// The most keys that one statement searches.
pub(in crate::store) const WINDOW: usize = 4_096;
/// The most keys that one statement names.
const NAMED: usize = 512;
/// How long keys are compared with patterns before other tasks get a turn. A key can take some milliseconds.
const COMPARE_FOR: Duration = Duration::from_millis(1);

/// What a list shows.
#[derive(Debug)]
pub(super) struct Shown<'s> {
    pub(super) tenant: &'s Tenant,
    pub(super) kinds: &'s [i16],
    /// Whether few keys of a tenant may be of these kinds.
    pub(super) are_rare: bool,
    pub(super) filter: &'s LockFilter,
    pub(super) now: Timestamp,
}

/// A search, from key to key.
pub(super) struct Search<'s> {
    store: &'s SqlStore,
    shown: Shown<'s>,
    /// The ranges of keys that are not finished.
    ranges: std::vec::IntoIter<KeyRange>,
    range: Option<KeyRange>,
    /// Where the search began.
    begin: Option<Key>,
    /// All keys up to this one were searched.
    after: Option<Key>,
    part: Part,
}

/// The keys that the next statement searches.
enum Part {
    /// The next ones, without a condition: most lists show almost all of them.
    Any,
    /// Those of a window that has to be found.
    Unknown,
    /// Those of a window.
    Window(Window),
    /// These ones, which patterns match, of a window.
    Named { keys: Vec<String>, window: Window },
}

/// The next keys of a range.
struct Window {
    /// The last key; `None` if it is not known.
    end: Option<Key>,
    /// Whether the range has no keys after these.
    is_last: bool,
}

impl<'s> Search<'s> {
    /// A search that begins after a key.
    pub(super) fn new(store: &'s SqlStore, shown: Shown<'s>, after: Option<Key>) -> Self {
        let mut ranges = ranges(&shown.filter.keys, after.as_ref()).into_iter();
        let range = ranges.next();
        let is_filtered = shown.filter.owner.is_some() || shown.filter.locked.is_some();
        let part = if shown.are_rare || is_filtered { Part::Unknown } else { Part::Any };
        Self { store, shown, ranges, range, begin: after.clone(), after, part }
    }

    /// Whether all keys were searched.
    pub(super) const fn is_over(&self) -> bool {
        self.range.is_none()
    }

    /// The key up to which all keys were searched, if it comes after the key with which the search began. It is `None` if the
    /// patterns do not match this key, since a cursor would show it.
    pub(super) fn position(&self) -> Option<&Key> {
        let patterns = self.shown.filter.keys.patterns.as_ref();
        let may_be_seen = |key: &Key| patterns.is_none_or(|patterns| patterns.matches(key.as_str()));
        self.after.as_ref().filter(|after| Some(*after) != self.begin.as_ref() && may_be_seen(after))
    }

    /// Searches further keys, and returns at most this number of rows, in the order of their keys. There may be none although
    /// the search is not over.
    pub(super) async fn next(&mut self, wanted: u64) -> Result<Vec<locks::Model>, DbErr> {
        if matches!(self.part, Part::Unknown) {
            self.find_window().await?;
        }
        let Some(range) = &self.range else { return Ok(Vec::new()) };
        let span = |up_to| Span { tenant: self.shown.tenant, range, after: self.after.as_ref(), up_to };
        let query = match &self.part {
            // No key of the window can be shown.
            Part::Unknown => return Ok(Vec::new()),
            Part::Any => span(None).rows(),
            Part::Window(window) => self.that_pass(span(window.end.as_ref()).rows()),
            Part::Named { keys, .. } => {
                self.that_pass(with_keys(self.shown.tenant, &keys[..keys.len().min(NAMED)]))
            }
        };
        let rows = self.store.rows(query.limit(wanted)).await?;
        let came = rows.len();
        let last = rows.last().map(|row| Key::trusted(&row.key));
        let rows = self.shown_rows(rows).await;
        if matches!(self.part, Part::Any) && rows.len() < came / 2 {
            self.part = Part::Unknown;
        }
        self.move_on(last.filter(|_| came as u64 == wanted));
        Ok(rows)
    }

    /// Goes on after the last row of a statement, or after all keys of the statement if it had no further row.
    fn move_on(&mut self, last: Option<Key>) {
        match (&mut self.part, last) {
            (Part::Named { keys, .. }, Some(last)) => {
                keys.retain(|key| key.as_str() > last.as_str());
                self.after = Some(last);
            }
            (_, Some(last)) => self.after = Some(last),
            (Part::Named { keys, .. }, None) if keys.len() > NAMED => {
                let searched = keys.drain(..NAMED).next_back();
                self.after = searched.map(|key| Key::trusted(&key));
            }
            (Part::Window(_) | Part::Named { .. }, None) => self.end_window(),
            (Part::Any | Part::Unknown, None) => self.range = self.ranges.next(),
        }
        if matches!(&self.part, Part::Named { keys, .. } if keys.is_empty()) {
            self.move_on(None);
        }
    }

    /// Goes on after a window that was searched.
    fn end_window(&mut self) {
        if let Part::Window(window) | Part::Named { window, .. } = mem::replace(&mut self.part, Part::Unknown)
        {
            self.skip(window);
        }
    }

    fn skip(&mut self, window: Window) {
        self.after = window.end.or(self.after.take());
        if window.is_last {
            self.range = self.ranges.next();
        }
    }

    /// Finds the window after the keys that were searched. Skips it if patterns match none of its keys.
    async fn find_window(&mut self) -> Result<(), DbErr> {
        let Some(range) = &self.range else { return Ok(()) };
        let span = Span { tenant: self.shown.tenant, range, after: self.after.as_ref(), up_to: None };
        let keys = span.keys();
        if self.shown.filter.keys.patterns.is_none() {
            let end = self.store.keys(keys.offset(WINDOW as u64 - 1).limit(1)).await?.pop();
            let end = end.map(|end| Key::trusted(&end));
            self.part = Part::Window(Window { is_last: end.is_none(), end });
            return Ok(());
        }
        let keys = self.store.keys(keys.limit(WINDOW as u64)).await?;
        let all = keys.len();
        let window = Window { end: keys.last().map(|end| Key::trusted(end)), is_last: all < WINDOW };
        let keys = self.matching(keys, String::as_str).await;
        if keys.is_empty() {
            self.skip(window);
        } else if keys.len() > all / 4 {
            self.part = Part::Window(window);
        } else {
            self.part = Part::Named { keys, window };
        }
        Ok(())
    }

    fn that_pass(&self, query: Select<locks::Entity>) -> Select<locks::Entity> {
        that_pass(query, self.shown.kinds, self.shown.filter, self.shown.now)
    }

    /// Those rows whose kinds and keys the list shows.
    async fn shown_rows(&self, mut rows: Vec<locks::Model>) -> Vec<locks::Model> {
        rows.retain(|row| self.shown.kinds.contains(&row.kind));
        self.matching(rows, |row| &row.key).await
    }

    /// Those whose keys the patterns match.
    async fn matching<T>(&self, all: Vec<T>, key: impl Fn(&T) -> &str) -> Vec<T> {
        let Some(patterns) = &self.shown.filter.keys.patterns else { return all };
        let mut since = Instant::now();
        let mut matching = Vec::new();
        for one in all {
            if since.elapsed() >= COMPARE_FOR {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
            if patterns.matches(key(&one)) {
                matching.push(one);
            }
        }
        matching
    }
}

impl SqlStore {
    async fn rows(&self, query: Select<locks::Entity>) -> Result<Vec<locks::Model>, DbErr> {
        self.list.round_trips.increment(1);
        query.all(self.general_pool()).await
    }

    async fn keys(&self, query: Select<locks::Entity>) -> Result<Vec<String>, DbErr> {
        self.list.round_trips.increment(1);
        query.into_tuple().all(self.general_pool()).await
    }
}
