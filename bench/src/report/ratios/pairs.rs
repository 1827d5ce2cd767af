//! Comparisons of pairs and heartbeats: with the peers, on a full table, over several replicas.

use super::{Goal, Ratio, SERVICES, Table, divide, pairs};
use crate::{
    plan::{Keys, Load, Route},
    report::{Measure, row::Row},
    settings::{Peer, Work},
};

impl Table<'_> {
    /// Throughput compared with etcd, Redis and the bare databases.
    pub(super) fn against_peers(&self) -> Vec<Ratio> {
        let fixed = self.fixed;
        let sqlite = self.pairs(Peer::ServiceSqlite, fixed);
        let ratio = |what: String, value, goal| Ratio { what, value, goal: Goal::AtLeast(goal) };
        let bare = [self.best(Peer::Postgres), self.best(Peer::Pgbench)];
        let bare = bare.into_iter().flatten().max_by(f64::total_cmp);
        vec![
            ratio(
                format!("pairs/s at {fixed} connections, SQLite ÷ etcd's gateway"),
                divide(sqlite, self.pairs(Peer::EtcdGateway, fixed)),
                6.0,
            ),
            ratio(
                format!("pairs/s at {fixed} connections, SQLite ÷ Redis (the aim is 1.0)"),
                divide(sqlite, self.pairs(Peer::Redis, fixed)),
                0.7,
            ),
            ratio(
                "pairs/s at the best connection count of each, PostgreSQL ÷ the better of bare PostgreSQL here and \
                 through pgbench (the aim is 2.5)"
                    .into(),
                divide(self.best(Peer::ServicePostgres), bare),
                1.7,
            ),
            ratio(
                "pairs/s at the best connection count of each, MariaDB ÷ bare MariaDB".into(),
                divide(self.best(Peer::ServiceMariadb), self.best(Peer::Mariadb)),
                1.5,
            ),
            ratio(
                format!("pairs/s at {fixed} connections, MySQL ÷ MariaDB"),
                divide(self.pairs(Peer::ServiceMysql, fixed), self.pairs(Peer::ServiceMariadb, fixed)),
                0.8,
            ),
        ]
    }

    /// Latency at one connection, where no commit can be shared.
    pub(super) fn one_connection(&self) -> Vec<Ratio> {
        let load = pairs(1, Keys::Reused, Route::Sticky);
        let time = |peer, measure| self.plain(Work::Pairs, peer, load, measure);
        let beside_bare = |call: &str, measure| {
            let health = time(Peer::Health, Measure::AcquireP50Us);
            let bare = time(Peer::Postgres, measure).zip(health).map(|(bare, health)| bare + health);
            Ratio {
                what: format!(
                    "p50 of {call} at 1 connection, PostgreSQL ÷ (the bare statement + one `/health`)"
                ),
                value: divide(time(Peer::ServicePostgres, measure), bare),
                goal: Goal::AtMost(1.6),
            }
        };
        vec![
            beside_bare("an acquire", Measure::AcquireP50Us),
            beside_bare("a release", Measure::ReleaseP50Us),
            Ratio {
                what: "p50 of a pair at 1 connection, SQLite ÷ etcd's gateway".into(),
                value: divide(
                    time(Peer::ServiceSqlite, Measure::P50Us),
                    time(Peer::EtcdGateway, Measure::P50Us),
                ),
                goal: Goal::AtMost(1.0),
            },
        ]
    }

    /// Heartbeats compared with the requests of pairs. Each pair has two requests.
    pub(super) fn heartbeats(&self) -> Vec<Ratio> {
        let each = SERVICES.map(|peer| {
            let same = |row: &&Row| row.cell.work == Work::Heartbeats && row.cell.peer == peer;
            let beats = self.rows.iter().find(same).and_then(|row| row.get(Measure::PerSecond));
            let requests = self.pairs(peer, self.fixed).map(|pairs| pairs * 2.0);
            Ratio {
                what: format!(
                    "{}: heartbeats/s ÷ acquires and releases/s at {} connections",
                    peer.title(),
                    self.fixed
                ),
                value: divide(beats, requests),
                goal: Goal::AtLeast(1.0),
            }
        });
        each.into()
    }

    /// A full table compared with an empty one.
    pub(super) fn full_table(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for peer in SERVICES {
            let new = pairs(self.fixed, Keys::New, Route::Sticky);
            let empty = self.plain(Work::Rows, peer, new, Measure::PerSecond);
            for (keys, name, goal) in [(Keys::New, "new keys", 0.9), (Keys::Known, "its own keys", 0.6)] {
                let load = pairs(self.fixed, keys, Route::Sticky);
                let full = self.find(Work::Rows, peer, 1, true, load);
                ratios.push(Ratio {
                    what: format!(
                        "{}: pairs/s at {} connections, {name} in a full table ÷ new keys in an empty one",
                        peer.title(),
                        self.fixed
                    ),
                    value: divide(full.and_then(|row| row.get(Measure::PerSecond)), empty),
                    goal: Goal::AtLeast(goal),
                });
            }
        }
        ratios
    }

    /// Several replicas compared with one.
    pub(super) fn replicas(&self) -> Vec<Ratio> {
        let rate = |replicas, route| {
            let load = pairs(self.fixed, Keys::Reused, route);
            let row = self.find(Work::Replicas, Peer::ServicePostgres, replicas, false, load);
            row.and_then(|row| row.get(Measure::PerSecond))
        };
        let one = rate(1, Route::Sticky);
        let ratio = |what: &str, route, goal| Ratio {
            what: format!(
                "PostgreSQL, pairs/s at {} connections, 3 replicas, {what} ÷ 1 replica",
                self.fixed
            ),
            value: divide(rate(3, route), one),
            goal: Goal::AtLeast(goal),
        };
        vec![
            ratio("each client staying on one", Route::Sticky, 0.9),
            ratio("each request on any", Route::Random, 0.5),
        ]
    }

    /// Memory at the most connections.
    pub(super) fn memory(&self) -> Vec<Ratio> {
        let each = SERVICES.map(|peer| {
            let rows = self.rows.iter().filter(|row| row.cell.work == Work::Pairs && row.cell.peer == peer);
            let sized = rows.filter_map(|row| match row.cell.load {
                Load::Pairs { connections, .. } => Some((connections, row.get(Measure::ServiceBytes)?)),
                _ => None,
            });
            let most = sized.max_by_key(|&(connections, _)| connections);
            let connections = most.map(|(connections, _)| connections).unwrap_or_default();
            Ratio {
                what: format!("{}: resident MiB of the service at {connections} connections", peer.title()),
                value: most.map(|(_, bytes)| bytes / f64::from(1 << 20)),
                goal: Goal::AtMost(64.0),
            }
        });
        each.into()
    }
}
