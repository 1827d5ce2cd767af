//! The tables of measurements.

use std::fmt::Write;

use super::{
    Measure,
    row::Row,
    words::{case, grouped, time_of, who},
};
use crate::{plan::Load, settings::Work};

/// Pairs a second of each peer at each number of connections.
pub(super) fn matrix(text: &mut String, rows: &[&Row]) {
    let connections = |row: &&Row| match row.cell.load {
        Load::Pairs { connections, .. } => connections,
        _ => 0,
    };
    let mut counts: Vec<_> = rows.iter().map(connections).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut peers: Vec<_> = rows.iter().map(|row| row.cell.peer).collect();
    peers.dedup();
    let heads: Vec<_> = counts.iter().map(usize::to_string).collect();
    let (head, rule) = (heads.join(" | "), "---:|".repeat(counts.len()));
    let _ = write!(text, "Pairs a second, by the number of connections:\n\n| | {head} |\n|---|{rule}\n");
    for peer in peers {
        let _ = write!(text, "| {} |", peer.title());
        for &count in &counts {
            let row = rows.iter().find(|row| row.cell.peer == peer && connections(row) == count);
            let rate = row.and_then(|row| row.get(Measure::PerSecond)).map(grouped);
            let _ = write!(text, " {} |", rate.unwrap_or_default());
        }
        text.push('\n');
    }
    text.push('\n');
}

/// How a number is shown.
#[derive(Clone, Copy)]
enum Shape {
    Rate,
    Time,
    Cores,
    Mebibytes,
    Kibibytes,
    Plain,
    Seconds,
}

/// A column: its heading, its number, how that is shown.
type Column = (&'static str, Measure, Shape);

/// The columns of a kind of work, after the peer and the case.
fn columns(work: Work) -> Vec<Column> {
    let unit = match work {
        Work::Heartbeats => "heartbeats/s",
        Work::Hot | Work::Semaphore => "grants/s",
        _ => "pairs/s",
    };
    let times = [
        (unit, Measure::PerSecond, Shape::Rate),
        ("p50", Measure::P50Us, Shape::Time),
        ("p99", Measure::P99Us, Shape::Time),
        ("p99.9", Measure::P999Us, Shape::Time),
    ];
    let after_answer = [
        ("after the answer, p50", Measure::AfterAnswerP50Us, Shape::Time),
        ("after the answer, p99", Measure::AfterAnswerP99Us, Shape::Time),
    ];
    let acquire = [
        ("acquire p50", Measure::AcquireP50Us, Shape::Time),
        ("release p50", Measure::ReleaseP50Us, Shape::Time),
    ];
    let usage = [
        ("server CPU each", Measure::ServerCpuUs, Shape::Time),
        ("server, cores", Measure::ServerCores, Shape::Cores),
        ("load, cores", Measure::LoadCores, Shape::Cores),
        ("servers, MiB", Measure::MemoryBytes, Shape::Mebibytes),
        ("service, MiB", Measure::ServiceBytes, Shape::Mebibytes),
    ];
    match work {
        Work::Idle => vec![
            ("KiB a waiter", Measure::BytesPerWaiter, Shape::Kibibytes),
            ("service, MiB", Measure::ServiceBytes, Shape::Mebibytes),
            ("database's statements/s", Measure::StatementsPerSecond, Shape::Rate),
            ("service's round trips/s", Measure::RoundTripsPerSecond, Shape::Rate),
            ("server, cores", Measure::ServerCores, Shape::Cores),
            ("queued in", Measure::QueuedSeconds, Shape::Seconds),
        ],
        Work::Order => vec![
            ("rounds", Measure::Rounds, Shape::Plain),
            ("in order", Measure::OrderedRounds, Shape::Plain),
            ("a round", Measure::RoundSeconds, Shape::Seconds),
        ],
        Work::Hot => [&times[..], &after_answer, &usage].concat(),
        Work::Heartbeats => [&times[..], &usage].concat(),
        _ => [&times[..], &acquire, &usage].concat(),
    }
}

/// A table of a kind of work, without empty columns.
pub(super) fn table(text: &mut String, work: Work, rows: &[&Row]) {
    let columns = columns(work);
    let used: Vec<_> =
        columns.iter().filter(|(_, measure, _)| rows.iter().any(|row| row.get(*measure).is_some())).collect();
    let heads: Vec<_> = used.iter().map(|&&(name, ..)| name).collect();
    let (head, rule) = (heads.join(" | "), "---:|".repeat(used.len() + 1));
    let _ = write!(text, "| peer | case | {head} | failed |\n|---|---|{rule}\n");
    for row in rows {
        let _ = write!(text, "| {} | {} |", who(row.stand, row.cell), case(row.stand, row.cell));
        for &&(_, measure, shape) in &used {
            let value = row.get(measure).map(|value| show(value, shape)).unwrap_or_default();
            let _ = write!(text, " {value} |");
        }
        let _ = writeln!(text, " {} |", row.failures.values().sum::<u64>());
    }
}

/// A number in its shape.
fn show(value: f64, shape: Shape) -> String {
    match shape {
        Shape::Rate => grouped(value),
        Shape::Time => time_of(value),
        Shape::Cores => format!("{value:.2}"),
        Shape::Mebibytes if value == 0.0 => String::new(),
        Shape::Mebibytes => format!("{:.1}", value / f64::from(1 << 20)),
        Shape::Kibibytes => format!("{:.1}", value / 1_024.0),
        Shape::Plain => format!("{value:.0}"),
        Shape::Seconds => format!("{value:.2} s"),
    }
}
