//! The comparisons with the goals of the project, computed from the medians of the run.

mod guards;
mod pairs;
mod waiting;

use serde::Serialize;

use super::{Measure, row::Row};
use crate::{
    plan::{Keys, Load, Route},
    settings::{Peer, Settings, Work},
};

/// The goal of a value.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// One comparison.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ratio {
    /// The description of the two sides.
    pub(super) what: String,
    /// The ratio; `None` if one side was not measured.
    pub(super) value: Option<f64>,
    /// The goal.
    pub(super) goal: Goal,
}

impl Ratio {
    /// All comparisons with both sides in this run. With a given rate, comparing rates would say nothing.
    pub(super) fn all(rows: &[Row], settings: &Settings) -> Vec<Self> {
        let table = Table { rows, fixed: settings.fixed_connections };
        let rates = [
            table.against_peers(),
            table.heartbeats(),
            table.full_table(),
            table.replicas(),
            table.guards(),
            table.embedded(),
        ];
        let rates = if settings.rate.is_none() { rates.concat() } else { Vec::new() };
        let lists =
            [rates, table.one_connection(), table.memory(), table.hand_over(settings), table.waiting()];
        lists.into_iter().flatten().filter(|ratio| ratio.value.is_some()).collect()
    }

    /// Whether the goal is reached.
    pub(super) fn is_met(&self) -> bool {
        self.value.is_some_and(|value| match self.goal {
            Goal::AtLeast(goal) => value >= goal,
            Goal::AtMost(goal) => value <= goal,
        })
    }
}

/// The service on its databases.
const SERVICES: [Peer; 4] =
    [Peer::ServiceSqlite, Peer::ServicePostgres, Peer::ServiceMariadb, Peer::ServiceMysql];

/// The rows, to look values up in.
struct Table<'a> {
    rows: &'a [Row],
    /// The number of connections at which most comparisons are made.
    fixed: usize,
}

impl Table<'_> {
    /// A number of a peer on one replica and an unfilled table.
    fn plain(&self, work: Work, peer: Peer, load: Load, measure: Measure) -> Option<f64> {
        self.find(work, peer, 1, false, load)?.get(measure)
    }

    /// The row of a measurement.
    fn find(&self, work: Work, peer: Peer, replicas: usize, filled: bool, load: Load) -> Option<&Row> {
        self.rows.iter().find(|row| {
            row.cell.work == work
                && row.cell.peer == peer
                && row.cell.load == load
                && row.replicas() == replicas
                && row.stand.filled == filled
        })
    }

    /// Pairs a second at that many connections.
    fn pairs(&self, peer: Peer, connections: usize) -> Option<f64> {
        self.plain(Work::Pairs, peer, pairs(connections, Keys::Reused, Route::Sticky), Measure::PerSecond)
    }

    /// The most pairs a second at any number of connections.
    fn best(&self, peer: Peer) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| row.cell.work == Work::Pairs && row.cell.peer == peer);
        rows.filter_map(|row| row.get(Measure::PerSecond)).max_by(f64::total_cmp)
    }
}

/// Pairs.
fn pairs(connections: usize, keys: Keys, route: Route) -> Load {
    Load::Pairs { connections, keys, route }
}

/// The quotient of two numbers, if both exist and the second is not 0.
fn divide(dividend: Option<f64>, divisor: Option<f64>) -> Option<f64> {
    let (dividend, divisor) = dividend.zip(divisor)?;
    (divisor > 0.0).then_some(dividend / divisor)
}
