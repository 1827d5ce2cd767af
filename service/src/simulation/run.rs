//! The course of a simulation: replicas and clients start, faults happen, and the checker watches until all is quiet.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    client::Client,
    plan::{LIVELY_MS, QUIET_MS, RECOVERY_MS},
    request::Ask,
    world::World,
};
use crate::domain::{DataEdit, Kind, Release, ReplicaId};

/// The time for which a replica has to run before its waiters have to be served in time: until then the others may
/// believe that it is dead.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

impl World {
    /// Runs until everything has become quiet, or the checker found an error.
    pub(super) async fn run(self: &Arc<Self>) {
        for replica in 0..self.plan.replicas {
            self.start(replica, 0);
        }
        for (id, kind) in self.keys.clone() {
            if kind == Kind::Semaphore {
                self.call(99, 0, &id, Ask::PutSemaphore(2), None).await;
            }
        }
        for number in 0..self.plan.clients {
            tokio::spawn(Client::new(self.clone(), number).live());
        }
        self.schedule_faults();
        tokio::spawn(self.clone().watch());
        let end =
            Instant::now() + Duration::from_millis((LIVELY_MS + RECOVERY_MS + QUIET_MS).cast_unsigned());
        tokio::select! {
            biased;
            () = self.record.failed.notified() => {}
            () = sleep_until(end) => {
                let clock = self.database.clock();
                self.record.check(|checker, _| checker.check_left_behind(clock));
            }
        }
    }

    /// Checks again and again that waiters are served.
    async fn watch(self: Arc<Self>) {
        let mut freed = false;
        loop {
            sleep(Duration::from_millis(100)).await;
            if !freed && self.at() >= LIVELY_MS + RECOVERY_MS / 2 {
                freed = true;
                tokio::spawn(self.clone().free_what_is_left());
            }
            let clock = self.database.clock();
            let members = self.record.members();
            let replicas = self.replicas().clone();
            let lives = |member: ReplicaId| {
                members.get(&member).is_some_and(|(number, life)| {
                    replicas[*number].as_ref().is_some_and(|replica| {
                        replica.process.life == *life && replica.process.has_run(SETTLED_AFTER)
                    })
                })
            };
            let runs_for = replicas.iter().flatten().map(|replica| replica.process.runs_for()).max();
            self.record
                .check(|checker, at| checker.check_served(at, clock, lives, runs_for.unwrap_or_default()));
        }
    }

    /// Ends grants that nobody will give back, as an operator, since nothing would happen otherwise.
    async fn free_what_is_left(self: Arc<Self>) {
        let left = self.record.check(|checker, at| Ok(checker.left_over(at))).unwrap_or_default();
        for (id, version) in left {
            let kind = self.keys.iter().find(|(key, _)| *key == id).map_or(Kind::Mutex, |(_, kind)| *kind);
            for number in 0..self.plan.replicas {
                let release = Release { kind, version, data: DataEdit::Keep, delete_lock: false };
                self.call(98, number, &id, Ask::Release(release), None).await;
            }
        }
    }
}
