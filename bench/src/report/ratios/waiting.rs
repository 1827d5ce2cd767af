//! Comparisons of waiters: hand-overs, the cost of waiting, order.

use super::{Goal, Ratio, Table, divide};
use crate::{
    number::{count, float},
    plan::Load,
    report::Measure,
    settings::{Peer, Settings, Work},
};

impl Table<'_> {
    /// Hand-overs compared with etcd, and over three replicas compared with one.
    pub(super) fn hand_over(&self, settings: &Settings) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for &waiters in &settings.waiters {
            let load = Load::Hot { waiters };
            let value = |peer, replicas, measure| {
                self.find(Work::Hot, peer, replicas, false, load).and_then(|row| row.get(measure))
            };
            let etcd = value(Peer::EtcdGateway, 1, Measure::PerSecond);
            for peer in [Peer::ServiceSqlite, Peer::ServicePostgres] {
                ratios.push(Ratio {
                    what: format!("{}: grants/s with {waiters} waiters ÷ etcd's gateway", peer.title()),
                    value: divide(value(peer, 1, Measure::PerSecond), etcd),
                    goal: Goal::AtLeast(3.0),
                });
            }
            let over = |peer| value(peer, 3, Measure::P50Us);
            let one = value(Peer::ServicePostgres, 1, Measure::P50Us);
            ratios.push(Ratio {
                what: format!(
                    "PostgreSQL: p50 of a hand-over with {waiters} waiters, 3 replicas ÷ 1 replica"
                ),
                value: divide(over(Peer::ServicePostgres), one),
                goal: Goal::AtMost(3.0),
            });
            for peer in [Peer::ServiceMariadb, Peer::ServiceMysql] {
                ratios.push(Ratio {
                    what: format!(
                        "{}: p50 of a hand-over with {waiters} waiters over 3 replicas, in ms",
                        peer.title()
                    ),
                    value: over(peer).map(|us| us / 1e3),
                    goal: Goal::AtMost(5.0),
                });
                ratios.push(Ratio {
                    what: format!("{}: grants/s with {waiters} waiters ÷ PostgreSQL's", peer.title()),
                    value: divide(
                        value(peer, 1, Measure::PerSecond),
                        value(Peer::ServicePostgres, 1, Measure::PerSecond),
                    ),
                    goal: Goal::AtLeast(0.7),
                });
            }
        }
        ratios
    }

    /// Idle waiters, and their order.
    pub(super) fn waiting(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for row in self.rows {
            let name = row.cell.peer.title();
            match row.cell.load {
                Load::Idle { .. } => {
                    let statements = row.get(Measure::StatementsPerSecond);
                    let polls = matches!(row.cell.peer, Peer::ServiceMariadb | Peer::ServiceMysql);
                    let allowed = if polls { 40.0 } else { 5.0 };
                    ratios.push(Ratio {
                        what: format!("{name}: resident KiB a waiting request"),
                        value: row.get(Measure::BytesPerWaiter).map(|bytes| bytes / 1_024.0),
                        goal: Goal::AtMost(24.0),
                    });
                    ratios.push(Ratio {
                        what: format!("{name}: database statements/s while all wait"),
                        value: statements.or(row.get(Measure::RoundTripsPerSecond)),
                        goal: Goal::AtMost(allowed),
                    });
                }
                Load::Order { rounds, .. } => ratios.push(Ratio {
                    what: format!("{name}, {} replicas: rounds in order", row.replicas()),
                    value: row.get(Measure::OrderedRounds),
                    goal: Goal::AtLeast(float(count(rounds))),
                }),
                _ => {}
            }
        }
        ratios
    }
}
