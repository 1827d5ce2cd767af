//! The keys of a client's pairs.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    number::{count, unique},
    plan::Keys,
    settings::Settings,
};

/// A stride through the filled table: a prime, which is coprime to every number of rows that it does not divide.
const STRIDE: u64 = 2_654_435_761;

/// The sequence of keys of one client. No other client of the measurement gets any of them.
#[derive(Debug, Clone)]
pub(super) struct KeySource {
    kind: Kind,
    /// The client's number.
    index: u64,
    /// The number of keys given so far.
    given: u64,
    key: String,
}

/// The source of keys.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// This number of keys of the client's own, again and again. They begin with the letter.
    Reused(char, u64),
    /// New keys. The number distinguishes the measurement from all others.
    New(u64),
    /// Rows of the filled table, in a scattered order.
    Known {
        /// The number of rows.
        rows: u64,
        /// The number of clients.
        clients: u64,
        /// The first row of this measurement, so that it does not use the rows of the previous one.
        start: u64,
    },
}

impl KeySource {
    /// The sources for the clients of one measurement.
    pub(super) fn for_clients(keys: Keys, clients: usize, settings: &Settings) -> Vec<Self> {
        // Successive measurements begin a fifth of the table apart.
        static FIFTHS: AtomicU64 = AtomicU64::new(0);
        let kind = match keys {
            Keys::Reused => Kind::Reused('c', settings.keys_per_connection),
            // A guarded key stays guarded.
            Keys::Guarded => Kind::Reused('g', settings.keys_per_connection),
            Keys::New => Kind::New(unique()),
            Keys::Known => Kind::Known {
                rows: settings.rows,
                clients: count(clients),
                start: FIFTHS.fetch_add(1, Ordering::Relaxed) % 5 * (settings.rows / 5),
            },
        };
        let source = |index| Self { kind, index, given: 0, key: String::new() };
        (0..count(clients)).map(source).collect()
    }

    /// The number of keys before they repeat; `None` if each is used only once.
    pub(super) fn cycle(&self) -> Option<u64> {
        if let Kind::Reused(_, keys) = self.kind { Some(keys) } else { None }
    }

    /// The next key.
    pub(super) fn next(&mut self) -> &str {
        let given = self.given;
        self.given += 1;
        self.key.clear();
        let index = self.index;
        let written = match self.kind {
            Kind::Reused(letter, keys) => write!(self.key, "{letter}{index}-{}", given % keys),
            Kind::New(measurement) => write!(self.key, "new-{measurement}-{index}-{given}"),
            Kind::Known { rows, clients, start } => {
                let turn = start.wrapping_add(given.wrapping_mul(clients)).wrapping_add(index) % rows;
                let row = u128::from(turn) * u128::from(STRIDE) % u128::from(rows);
                write!(self.key, "row-{row}")
            }
        };
        debug_assert!(written.is_ok(), "a string takes everything");
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{KeySource, Kind};

    #[test]
    fn known_keys_meet_each_row_once() {
        let (rows, clients) = (1_000, 8);
        let kind = Kind::Known { rows, clients, start: 77 };
        let mut seen = HashSet::new();
        for index in 0..clients {
            let mut source = KeySource { kind, index, given: 0, key: String::new() };
            for _ in 0..rows / clients {
                assert!(seen.insert(source.next().to_owned()), "a row came twice");
            }
        }
        assert_eq!(seen.len(), 1_000);
        assert!(seen.contains("row-0") && seen.contains("row-999"));
    }

    #[test]
    fn reused_keys_come_again() {
        let mut source = KeySource { kind: Kind::Reused('c', 2), index: 5, given: 0, key: String::new() };
        let keys: Vec<_> = (0..3).map(|_| source.next().to_owned()).collect();
        assert_eq!(keys, ["c5-0", "c5-1", "c5-0"]);
    }
}
