//! The faults of the world while clients are busy.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::time::sleep;

use super::{
    checker::Checker,
    plan::LIVELY_MS,
    world::{Replica, World},
};

/// A fault.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Crash,
    Drain,
    Pause,
    StepClock,
    Outage,
    BlockRow,
    FailOver,
    RaiseEpoch,
}

impl World {
    /// Causes faults while clients are busy.
    pub(super) fn schedule_faults(self: &Arc<Self>) {
        let faults = self.plan.world;
        let kinds = [
            (Fault::Crash, faults.crashes),
            (Fault::Drain, faults.drains),
            (Fault::Pause, faults.pauses),
            (Fault::StepClock, faults.clock_steps),
            (Fault::Outage, faults.outages),
            (Fault::BlockRow, faults.blocked_rows),
            (Fault::FailOver, faults.failovers),
            (Fault::RaiseEpoch, faults.raises),
        ];
        for (fault, times) in kinds {
            let mut left = times;
            while left > 0.0 {
                if self.draw(|random| random.random_bool(left.min(1.0))) {
                    let at = self.draw(|random| random.random_range(0..LIVELY_MS.unsigned_abs()));
                    let world = self.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(at)).await;
                        world.cause(fault).await;
                    });
                }
                left -= 1.0;
            }
        }
    }

    async fn cause(self: Arc<Self>, fault: Fault) {
        let number = self.draw(|random| random.random_range(0..self.plan.replicas));
        let replica = self.replicas()[number].clone();
        match (fault, replica) {
            (Fault::Crash, Some(replica)) => self.crash(number, &replica),
            (Fault::Drain, Some(replica)) => self.drain(number, replica).await,
            (Fault::Pause, Some(replica)) => self.pause(number, &replica).await,
            (Fault::Crash | Fault::Drain | Fault::Pause, None) => {}
            (Fault::StepClock, _) => {
                let by = self.draw(|random| random.random_range(-6_000..6_000));
                self.database.step_clock(by);
            }
            (Fault::Outage, _) => {
                let ms = self.draw(|random| random.random_range(100..8_000));
                self.record.count("outages");
                self.record.note(&format!("nobody reaches the database for {ms} ms"));
                self.database.go_away(Duration::from_millis(ms));
            }
            (Fault::BlockRow, _) => {
                let ms = self.draw(|random| random.random_range(100..9_000));
                let key = self.draw(|random| random.random_range(0..self.keys.len()));
                let (id, _) = self.keys[key].clone();
                self.record.count("blocked rows");
                self.record.note(&format!("{}: its row is blocked for {ms} ms", id.key.as_str()));
                self.database.block_row(id, Duration::from_millis(ms));
            }
            (Fault::FailOver, _) => self.fail_over().await,
            (Fault::RaiseEpoch, _) => self.database.raise_by_hand().await,
        }
    }

    fn crash(&self, number: usize, replica: &Replica) {
        self.record.count("crashes");
        let polls = self.draw(|random| random.random_range(0..60));
        self.record.note(&format!("replica {number} crashes within {polls} polls"));
        replica.process.crash_after(polls);
    }

    async fn drain(&self, number: usize, replica: Replica) {
        self.record.count("drains");
        self.record.note(&format!("replica {number} is asked to stop"));
        let grace = Duration::from_millis(self.draw(|random| random.random_range(10..3_000)));
        let drain = replica.process.spawn(async move { replica.engine.drain(grace).await });
        let _ = drain.await;
        replica.process.kill();
    }

    async fn pause(&self, number: usize, replica: &Replica) {
        self.record.count("pauses");
        let ms = self.draw(|random| random.random_range(50..7_000));
        self.record.note(&format!("replica {number} does not run for {ms} ms"));
        replica.process.pause();
        self.record.inform(Checker::replica_stops);
        if let Some(Some(replica)) = self.replicas().get_mut(number) {
            replica.pauses += 1;
        }
        sleep(Duration::from_millis(ms)).await;
        self.record.note(&format!("replica {number} runs again"));
        replica.process.resume();
    }

    async fn fail_over(&self) {
        let lost_ms = self.draw(|random| random.random_range(0..2_000));
        let away_ms = self.draw(|random| random.random_range(0..3_000));
        if self.database.leave_standby_behind() {
            self.record.note("the standby does not follow any more");
            sleep(Duration::from_millis(lost_ms)).await;
            self.database.fail_over().await;
            self.database.go_away(Duration::from_millis(away_ms));
        }
    }
}
