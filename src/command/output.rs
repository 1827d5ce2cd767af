//! Answers as aligned text, or as JSON.

use std::{io::Write, time::Duration};

use db_locks::{LockItem, Semaphore};
use serde::Serialize;

use super::{args::OutputArgs, exit::Failure};
use crate::printable::{printable, printable_json};

/// Prints one answer.
pub(super) fn show<T: Show + Serialize>(answer: &T, output: OutputArgs) -> Result<(), Failure> {
    if output.json {
        return print_json(answer);
    }
    print(&aligned(answer.fields().iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()])))
}

/// Prints a list.
pub(super) fn show_list<T: Show + Serialize>(items: &[T], output: OutputArgs) -> Result<(), Failure> {
    if output.json {
        return print_json(&serde_json::json!({"items": items, "next_cursor": null}));
    }
    if items.is_empty() {
        return Ok(());
    }
    let head = T::COLUMNS.iter().map(|name| (*name).to_uppercase()).collect();
    let rows = items.iter().map(|item| {
        let fields = item.fields();
        let cell = |name| fields.iter().find(|field| field.0 == name).map(|field| field.1.clone());
        T::COLUMNS.iter().map(|name| cell(*name).unwrap_or_default()).collect()
    });
    print(&aligned(std::iter::once(head).chain(rows)))
}

/// Prints that something was deleted.
pub(super) fn show_deleted(key: &str, output: OutputArgs) -> Result<(), Failure> {
    if output.json {
        return print_json(&serde_json::json!({"key": key, "deleted": true}));
    }
    print(&format!("{} is deleted", printable(key)))
}

/// Answers that can be shown as text.
pub(super) trait Show {
    /// The fields that a list shows.
    const COLUMNS: &'static [&'static str];

    /// Names and values.
    fn fields(&self) -> Vec<(&'static str, String)>;
}

impl Show for LockItem {
    const COLUMNS: &'static [&'static str] = &["key", "locked", "owner", "expires in", "token", "waiters"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
        let mut fields = vec![
            ("key", printable(&self.key)),
            ("locked", if self.locked { "yes" } else { "no" }.to_owned()),
            ("owner", text(&self.owner)),
            ("version", text(&self.version)),
            ("token", self.fencing_token.to_string()),
            ("lease", seconds(self.lease_duration_ms)),
            ("expires in", self.expires_in_ms.map_or_else(|| "-".to_owned(), seconds)),
            ("waiters", self.waiters.to_string()),
        ];
        if self.guarded {
            fields.push(("guarded", "yes".to_owned()));
        }
        if self.data.is_some() {
            fields.push(("data", text(&self.data)));
        }
        fields
    }
}

impl Show for Semaphore {
    const COLUMNS: &'static [&'static str] = &["key", "size", "busy", "waiters", "lease"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("key", printable(&self.key)),
            ("size", self.max_size.to_string()),
            ("busy", self.busy_count.to_string()),
            ("waiters", self.waiters.to_string()),
            ("lease", seconds(self.lease_duration_ms)),
        ];
        if self.guarded {
            fields.push(("guarded", "yes".to_owned()));
        }
        fields
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.1} s", Duration::from_millis(milliseconds).as_secs_f64())
}

/// Formats rows with aligned columns.
pub(crate) fn aligned(rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows = rows.collect::<Vec<_>>();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    print(&printable_json(&serde_json::to_vec(answer)?))
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_below_each_other() {
        let rows = [["key", "owner"], ["a-long-key", "ü"], ["k", "someone"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(rows.into_iter()), "key         owner\na-long-key  ü\nk           someone");
    }
}
