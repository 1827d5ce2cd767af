//! Numbers and measurements in words, as tables, the chart and the progress show them.

use super::{Findings, Measure};
use crate::{
    plan::{Cell, Keys, Load, Proof, Route, Server, Stand},
    settings::Work,
};

/// The peer that was measured, with the number of replicas if there are several.
pub(super) fn who(stand: Stand, cell: Cell) -> String {
    match stand.server {
        Server::Service { replicas, .. } if replicas > 1 => {
            format!("{}, {replicas} replicas", cell.peer.title())
        }
        _ => cell.peer.title().to_owned(),
    }
}

/// The case that was measured.
pub(crate) fn case(stand: Stand, cell: Cell) -> String {
    match cell.load {
        Load::Pairs { connections, keys, route } => {
            let table = match (cell.work, stand.filled, keys) {
                (_, _, Keys::Guarded) => ", guarded",
                (Work::Rows, true, Keys::Known) => ", full table, its keys",
                (Work::Rows, true, _) => ", full table, new keys",
                (Work::Rows, false, _) => ", empty table, new keys",
                _ => "",
            };
            let route = if route == Route::Random { ", any replica" } else { "" };
            format!("{connections} {}{table}{route}", plural(connections, "connection"))
        }
        Load::Heartbeats { locks, connections } => {
            format!("{} locks, {connections} {}", whole(locks), plural(connections, "connection"))
        }
        Load::Hot { waiters } => format!("{waiters} {}", plural(waiters, "waiter")),
        Load::Semaphore { permits, clients } => format!("{permits} permits, {clients} clients"),
        Load::Idle { waiters, keys } => format!("{} waiters, {} keys", whole(waiters), whole(keys)),
        Load::Transactions { proof: Proof::Guard } => "`db_locks_guard` in a transaction".to_owned(),
        Load::Transactions { proof: Proof::RowLock } => "`SELECT … FOR UPDATE` instead".to_owned(),
        Load::Transactions { proof: Proof::AdvisoryLock } => "`pg_advisory_xact_lock` instead".to_owned(),
        Load::Order { waiters, rounds } => format!("{waiters} waiters, {rounds} rounds"),
    }
}

/// A line of progress about a measurement that has just been done.
pub(crate) fn progress(stand: Stand, cell: Cell, findings: &Findings) -> String {
    let value = |measure| findings.measures.get(&measure).copied();
    let mut line = format!("{}, {}:", who(stand, cell), case(stand, cell));
    let parts = [
        value(Measure::PerSecond).map(|rate| format!(" {}/s", grouped(rate))),
        value(Measure::P50Us).map(|time| format!(" p50 {}", time_of(time))),
        value(Measure::P99Us).map(|time| format!(" p99 {}", time_of(time))),
        value(Measure::BytesPerWaiter).map(|bytes| format!(" {:.1} KiB a waiter", bytes / 1_024.0)),
        value(Measure::OrderedRounds).map(|rounds| format!(" {rounds} rounds in order")),
        Some(findings.failures.total()).filter(|&n| n > 0).map(|n| format!(" ({n} failed)")),
    ];
    line.extend(parts.into_iter().flatten());
    line
}

/// A rate without decimals, in groups of three digits; small ones with a decimal.
pub(super) fn grouped(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    group(&format!("{value:.0}"))
}

/// A count in groups of three digits.
pub(super) fn whole(value: usize) -> String {
    group(&value.to_string())
}

/// Puts a comma before every three digits.
fn group(digits: &str) -> String {
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time that is given in microseconds, in the unit that suits it.
pub(super) fn time_of(microseconds: f64) -> String {
    match microseconds {
        us if us < 995.0 => format!("{us:.0} µs"),
        us if us < 9_950.0 => format!("{:.2} ms", us / 1e3),
        us if us < 99_500.0 => format!("{:.1} ms", us / 1e3),
        us if us < 995_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// The word, in the plural unless the number is one.
fn plural(number: usize, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use super::{grouped, time_of, whole};

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(23.46), "23.5");
        assert_eq!(whole(10_000), "10,000");
        assert_eq!(whole(100), "100");
    }

    #[test]
    fn times_have_three_digits() {
        assert_eq!(time_of(87.4), "87 µs");
        assert_eq!(time_of(1_234.0), "1.23 ms");
        assert_eq!(time_of(12_340.0), "12.3 ms");
        assert_eq!(time_of(1_234_000.0), "1.23 s");
    }
}
