//! Builds a page of a list. A page ends after the requested number of items, or before an answer becomes too large.

use super::Page;
use crate::{
    access::{Glob, KeyPatterns, Token},
    domain::{Data, LockView},
};

/// The most bytes that the items of a page take in an answer: 4 MiB minus room for the text around them.
const MAX_BYTES: usize = 4 * 1024 * 1024 - 16 * 1024;
/// The bytes of an item apart from its texts: names of members, and numbers and times at their longest.
const FIXED_BYTES: usize = 640;

/// The number of rows to read at a time. With 32 KiB of data each, they take 4 MiB.
const ROWS: usize = 128;
/// The number of rows to read at a time after small rows.
const SMALL_ROWS: usize = 512;
/// The most bytes that small rows have on average.
const SMALL: usize = 1_024;

/// A page whose rows are being read. Besides the page, at most a few hundred rows are in memory.
#[derive(Debug)]
pub(super) struct PageInProgress<T, C> {
    items: Vec<T>,
    /// The cursor of the last row that was read.
    last: Option<C>,
    /// The cursor of the last item. The next page begins after it: the cursor of a row that is not shown would show its key.
    last_shown: Option<C>,
    limit: usize,
    bytes: usize,
    /// Whether an item had no room on the page.
    is_full: bool,
}

impl<T: AnswerSize, C: Clone> PageInProgress<T, C> {
    /// An empty page of at most `limit` items.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            items: Vec::new(),
            last: None,
            last_shown: None,
            limit: limit as usize,
            bytes: 0,
            is_full: false,
        }
    }

    /// Number of rows to ask for. It is one more than the page needs, to find out whether there is another page.
    pub(super) fn rows_wanted(&self) -> u64 {
        let were_small = !self.items.is_empty() && self.bytes / self.items.len() <= SMALL;
        let at_most = if were_small { SMALL_ROWS } else { ROWS };
        let left = self.limit - self.items.len() + 1;
        u64::try_from(left.min(at_most)).unwrap_or(u64::MAX)
    }

    /// The cursor after which to go on reading.
    pub(super) const fn last(&self) -> Option<&C> {
        self.last.as_ref()
    }

    /// Adds rows. `item` makes the item and the cursor of a row; the item is `None` if the list does not show the row. Returns
    /// false once the page is full; the rows that have no room are left out.
    pub(super) async fn extend<R>(&mut self, rows: Vec<R>, item: impl Fn(R) -> (Option<T>, C)) -> bool {
        for row in rows {
            // Matching its key patterns takes up to some milliseconds.
            tokio::task::yield_now().await;
            let (item, cursor) = item(row);
            let Some(item) = item else {
                self.last = Some(cursor);
                continue;
            };
            let bytes = item.answer_size();
            // A single item always fits.
            if self.items.len() == self.limit || (!self.items.is_empty() && self.bytes + bytes > MAX_BYTES) {
                self.is_full = true;
                return false;
            }
            self.bytes += bytes;
            self.items.push(item);
            self.last_shown = Some(cursor.clone());
            self.last = Some(cursor);
        }
        true
    }

    /// The finished page.
    pub(super) fn finish(self) -> Page<T, C> {
        Page { items: self.items, next: self.last_shown.filter(|_| self.is_full) }
    }

    /// The cursor of the last item.
    pub(super) const fn last_shown(&self) -> Option<&C> {
        self.last_shown.as_ref()
    }

    /// The page so far. The next one begins after `position`, up to which everything is on this page that the list shows.
    pub(super) fn cut(self, position: C) -> Page<T, C> {
        Page { items: self.items, next: Some(position) }
    }
}

/// An item of a list.
pub(super) trait AnswerSize {
    /// The most bytes that the item takes in an answer.
    fn answer_size(&self) -> usize;
}

impl AnswerSize for LockView {
    fn answer_size(&self) -> usize {
        let key = json_bytes(self.id.key.as_str());
        let keys = if self.is_permit { 2 * key } else { key };
        let owner = self.held.as_ref().map_or(0, |held| json_bytes(held.owner.as_str()));
        let data = self.data.as_ref().map(Data::as_str).map_or(0, json_bytes);
        FIXED_BYTES + self.id.tenant.as_str().len() + keys + owner + data
    }
}

impl AnswerSize for Token {
    fn answer_size(&self) -> usize {
        let globs = self.scope.keys.iter().flat_map(KeyPatterns::globs);
        // With quotes and a comma.
        let globs: usize = globs.map(Glob::as_str).map(|glob| json_bytes(glob) + 3).sum();
        let tenant = self.scope.tenant.as_ref().map_or(0, |tenant| tenant.as_str().len());
        FIXED_BYTES + json_bytes(&self.name) + tenant + globs
    }
}

/// The number of bytes of a text in JSON, without its quotes.
fn json_bytes(text: &str) -> usize {
    let escaped = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..=0x1F => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(usize);

    impl AnswerSize for Item {
        fn answer_size(&self) -> usize {
            self.0
        }
    }

    /// An item of this size. A row of size 0 is not shown.
    fn item(size: usize) -> Option<Item> {
        (size > 0).then_some(Item(size))
    }

    /// Builds a page from rows of these sizes. Returns the number of its items and the next cursor.
    async fn page(limit: u32, sizes: &[usize]) -> (usize, Option<usize>) {
        let mut page = PageInProgress::new(limit);
        loop {
            let from = page.last().map_or(0, |last| last + 1);
            let wanted = usize::try_from(page.rows_wanted()).unwrap_or(usize::MAX);
            let rows: Vec<_> = (from..sizes.len()).take(wanted).collect();
            let came = rows.len();
            if !page.extend(rows, |at| (item(sizes[at]), at)).await || came < wanted {
                let page = page.finish();
                return (page.items.len(), page.next);
            }
        }
    }

    #[tokio::test]
    async fn a_page_ends_after_its_limit() {
        assert_eq!(page(3, &[1; 2]).await, (2, None));
        assert_eq!(page(3, &[1; 3]).await, (3, None));
        assert_eq!(page(3, &[1; 4]).await, (3, Some(2)));
        assert_eq!(page(1_000, &[1; 1_000]).await, (1_000, None));
        assert_eq!(page(1_000, &[1; 1_500]).await, (1_000, Some(999)));
        assert_eq!(page(3, &[]).await, (0, None));
    }

    #[tokio::test]
    async fn a_page_ends_after_its_bytes_and_has_at_least_one_item() {
        assert_eq!(page(1_000, &[MAX_BYTES / 2; 2]).await, (2, None));
        assert_eq!(page(1_000, &[MAX_BYTES / 2; 3]).await, (2, Some(1)));
        assert_eq!(page(1_000, &[MAX_BYTES * 2; 3]).await, (1, Some(0)));
        assert_eq!(page(1_000, &[MAX_BYTES / 200; 999]).await, (200, Some(199)));
    }

    #[tokio::test]
    async fn hidden_rows_are_left_out_and_do_not_end_the_page() {
        assert_eq!(page(3, &[0; 400]).await, (0, None));
        assert_eq!(page(2, &[0, 1, 0, 1, 0, 1]).await, (2, Some(3)), "a hidden row is no cursor");
    }

    #[test]
    fn escapes_count_towards_the_size() {
        assert_eq!([r#"a"\"#, "\n\t", "\u{1}", "é😀", "\u{7f}"].map(json_bytes), [5, 4, 6, 6, 1]);
    }
}
