//! Comparisons of guarded locks with unguarded ones, and of the engine in the caller's process with the service.

use super::{Goal, Ratio, SERVICES, Table, divide, pairs};
use crate::{
    plan::{Keys, Load, Proof, Route},
    report::Measure,
    settings::{Peer, Work},
};

impl Table<'_> {
    /// The cost of guarding.
    pub(super) fn guards(&self) -> Vec<Ratio> {
        let rate = |peer, connections, keys| {
            self.plain(Work::Guard, peer, pairs(connections, keys, Route::Sticky), Measure::PerSecond)
        };
        let mut ratios = Vec::new();
        for peer in SERVICES {
            ratios.push(Ratio {
                what: format!("{}: pairs/s at 1 connection, guarded ÷ unguarded", peer.title()),
                value: divide(rate(peer, 1, Keys::Guarded), rate(peer, 1, Keys::Reused)),
                goal: Goal::AtLeast(0.5),
            });
            let time =
                self.plain(Work::Guard, peer, Load::Transactions { proof: Proof::Guard }, Measure::P50Us);
            ratios.push(Ratio {
                what: format!("{}: p50 of `db_locks_guard` in a transaction, in ms", peer.title()),
                value: time.map(|us| us / 1e3),
                goal: Goal::AtMost(0.2),
            });
        }
        ratios.push(Ratio {
            what: "db-locks, PostgreSQL: thousands of guarded pairs/s at 32 connections".into(),
            value: rate(Peer::ServicePostgres, 32, Keys::Guarded).map(|rate| rate / 1e3),
            goal: Goal::AtLeast(3.0),
        });
        ratios
    }

    /// The engine in the caller's process beside the service.
    pub(super) fn embedded(&self) -> Vec<Ratio> {
        let load = pairs(self.fixed, Keys::Reused, Route::Sticky);
        let rate = |peer| self.plain(Work::Embedded, peer, load, Measure::PerSecond);
        let compare = |name: &str, embedded, service| Ratio {
            what: format!("{name}: pairs/s of {} tasks, embedded ÷ over HTTP", self.fixed),
            value: divide(rate(embedded), rate(service)),
            goal: Goal::AtLeast(1.5),
        };
        vec![
            compare("SQLite", Peer::EmbeddedSqlite, Peer::ServiceSqlite),
            compare("PostgreSQL", Peer::EmbeddedPostgres, Peer::ServicePostgres),
            compare("SQLite, guards", Peer::GuardsSqlite, Peer::ServiceSqlite),
            compare("PostgreSQL, guards", Peer::GuardsPostgres, Peer::ServicePostgres),
        ]
    }
}
