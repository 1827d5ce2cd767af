//! Where a page of a list ends: after as many items as were asked for, or as many bytes as an answer may have.

use super::Page;
use crate::domain::{Data, LockView};

/// The most bytes that the items of a page take in an answer: 4 MiB less what stands around them.
const MAX_BYTES: usize = 4 * 1024 * 1024 - 16 * 1024;
/// What an item takes beside its texts: names of members, numbers and times at their longest.
const FIXED_BYTES: usize = 640;

/// The rows that are asked for at a time: with 32 KiB of data each they come to 4 MiB.
const ROWS: usize = 128;
/// The same once the rows that came were small.
const SMALL_ROWS: usize = 512;
/// How many bytes a small row has at most.
const SMALL: usize = 1_024;

/// A page while its rows are read. At most some hundred rows are in memory beside it.
#[derive(Debug)]
pub(super) struct PageInProgress<T, C> {
    items: Vec<T>,
    /// The cursor after the last row.
    last: Option<C>,
    limit: usize,
    bytes: usize,
    /// Whether there is an item that has no place on the page any more.
    is_full: bool,
}

impl<T: AnswerSize, C> PageInProgress<T, C> {
    /// An empty page of at most so many items.
    pub(super) fn new(limit: u32) -> Self {
        Self { items: Vec::new(), last: None, limit: limit as usize, bytes: 0, is_full: false }
    }

    /// How many rows to ask for: one more than the page needs tells whether there is another page.
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

    /// Adds what came: each row's item, `None` where it shows nothing, with its cursor. False once the page is full, and
    /// what did not fit is left out.
    pub(super) fn extend(&mut self, rows: impl IntoIterator<Item = (Option<T>, C)>) -> bool {
        for (item, cursor) in rows {
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
            self.last = Some(cursor);
        }
        true
    }

    /// The page as it is answered.
    pub(super) fn finish(self) -> Page<T, C> {
        Page { items: self.items, next: self.last.filter(|_| self.is_full) }
    }
}

/// What is an item of a list.
pub(super) trait AnswerSize {
    /// The most bytes that it takes in an answer.
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

/// The bytes of a text in JSON, without its quotes.
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

    /// A row of size 0 shows nothing.
    fn item(size: usize) -> Option<Item> {
        (size > 0).then_some(Item(size))
    }

    /// The number of items and the cursor of a page of rows of these sizes, which come as they are asked for.
    fn page(limit: u32, sizes: &[usize]) -> (usize, Option<usize>) {
        let mut page = PageInProgress::new(limit);
        loop {
            let from = page.last().map_or(0, |last| last + 1);
            let wanted = usize::try_from(page.rows_wanted()).unwrap_or(usize::MAX);
            let rows: Vec<_> = (from..sizes.len()).take(wanted).map(|at| (item(sizes[at]), at)).collect();
            let came = rows.len();
            if !page.extend(rows) || came < wanted {
                let page = page.finish();
                return (page.items.len(), page.next);
            }
        }
    }

    #[test]
    fn a_page_ends_after_its_limit() {
        assert_eq!(page(3, &[1; 2]), (2, None));
        assert_eq!(page(3, &[1; 3]), (3, None));
        assert_eq!(page(3, &[1; 4]), (3, Some(2)));
        assert_eq!(page(1_000, &[1; 1_000]), (1_000, None));
        assert_eq!(page(1_000, &[1; 1_500]), (1_000, Some(999)));
        assert_eq!(page(3, &[]), (0, None));
    }

    #[test]
    fn a_page_ends_after_its_bytes_and_has_at_least_one_item() {
        assert_eq!(page(1_000, &[MAX_BYTES / 2; 2]), (2, None));
        assert_eq!(page(1_000, &[MAX_BYTES / 2; 3]), (2, Some(1)));
        assert_eq!(page(1_000, &[MAX_BYTES * 2; 3]), (1, Some(0)));
        assert_eq!(page(1_000, &[MAX_BYTES / 200; 999]), (200, Some(199)));
    }

    #[test]
    fn rows_that_show_nothing_are_left_out_and_do_not_end_the_page() {
        assert_eq!(page(3, &[0; 400]), (0, None));
        assert_eq!(page(2, &[0, 1, 0, 1, 0, 1]), (2, Some(4)));
    }

    #[test]
    fn escapes_count() {
        assert_eq!([r#"a"\"#, "\n\t", "\u{1}", "é😀", "\u{7f}"].map(json_bytes), [5, 4, 6, 6, 1]);
    }
}
