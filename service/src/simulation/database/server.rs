//! The execution of statements: their durations, the locks for which they wait, and their faults.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Database, servers::Session, tables::Applied};
use crate::{
    domain::{KeyId, Timestamp},
    store::{Committed, StoreError, Write},
};

/// The time limit of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit of a commit for row locks of another one.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The fate of a statement that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    AnswerLost,
    Lost,
    Late,
    Transient,
    Refused,
}

impl Database {
    /// Waits some milliseconds, as most statements do.
    pub(super) async fn travel(&self) {
        let slow = self.happens(self.plan.statements.slow);
        let ms =
            self.draw(|random| if slow { random.random_range(5..400) } else { random.random_range(0..3) });
        if ms == 0 {
            tokio::task::yield_now().await;
        } else {
            sleep(Duration::from_millis(ms)).await;
        }
    }

    /// Gets a connection, if there is one. A new one is checked before it is used. Returns its server.
    pub(super) async fn connect(&self, session: &Session) -> Result<u64, StoreError> {
        let away = self.tables().away_until.filter(|until| *until > Instant::now());
        if let Some(until) = away {
            // The connection is refused at once, or there is no answer for a while.
            if self.draw(|random| random.random_bool(0.5)) {
                sleep_until(until.min(Instant::now() + Duration::from_secs(3))).await;
            }
            return Err(StoreError::Unreachable("away".into()));
        }
        if self.happens(self.plan.statements.unreachable) {
            return Err(StoreError::Unreachable("no connection".into()));
        }
        Ok(self.check_server(session))
    }

    /// Whether the server of a connection still runs.
    pub(super) fn is_there(&self, server: u64) -> Result<(), StoreError> {
        let there = self.tables().server.number == server;
        if there { Ok(()) } else { Err(StoreError::Unreachable("the server is gone".into())) }
    }

    /// Runs a statement that only reads, or that may be repeated. It is executed in the middle of the duration.
    pub(super) async fn ask<T>(
        &self,
        session: &Session,
        key_task: impl FnOnce() -> T,
    ) -> Result<T, StoreError> {
        let server = self.connect(session).await?;
        self.travel().await;
        self.is_there(server)?;
        let answer = key_task();
        self.travel().await;
        if self.happens(self.plan.statements.transient) {
            return Err(StoreError::Transient("deadlock".into()));
        }
        // For a read a lost answer is the same as a lost statement.
        if self.happens(self.plan.statements.lost_answer) {
            return Err(StoreError::Unreachable("the answer is lost".into()));
        }
        Ok(answer)
    }

    fn fate(&self) -> Fate {
        if !self.is_lively() {
            return Fate::Done;
        }
        let faults = self.plan.statements;
        let mut left: f64 = self.draw(Rng::random);
        for (fate, share) in [
            (Fate::AnswerLost, faults.lost_answer),
            (Fate::Lost, faults.lost_statement),
            (Fate::Late, faults.late),
            (Fate::Transient, faults.transient),
            (Fate::Refused, faults.refused),
        ] {
            if left < share {
                return fate;
            }
            left -= share;
        }
        Fate::Done
    }

    /// Runs a statement that writes.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        by: usize,
        session: &Session,
        writes: &Arc<Vec<Write>>,
    ) -> Result<Committed, StoreError> {
        let server = self.connect(session).await?;
        session.fence(writes)?;
        let fate = self.fate();
        let mut sent = Sent { database: self, writes, by, server, open: true };
        match fate {
            Fate::Lost => {
                sent.open = false;
                return Err(self.give_up().await);
            }
            Fate::Late => {
                sent.open = false;
                drop(sent);
                self.apply_late(by, server, writes.clone());
                return Err(self.give_up().await);
            }
            Fate::Done | Fate::AnswerLost | Fate::Transient | Fate::Refused => {}
        }
        self.travel().await;
        if let Err(error) = self.wait_for_rows(writes.iter().map(|write| &write.change.id)).await {
            sent.open = false;
            return Err(error);
        }
        sent.open = false;
        if self.is_there(server).is_err() {
            return Err(self.give_up().await);
        }
        match fate {
            Fate::Transient => return Err(StoreError::Transient("deadlock".into())),
            Fate::Refused => return Err(StoreError::Rejected("refused".into())),
            _ => {}
        }
        let committed = self.apply(by, writes)?;
        if fate == Fate::AnswerLost {
            return Err(self.give_up().await);
        }
        self.travel().await;
        if self.is_there(server).is_err() {
            return Err(self.give_up().await);
        }
        Ok(committed)
    }

    /// Waits until the connection breaks, or until the time limit of the answer.
    pub(super) async fn give_up(&self) -> StoreError {
        let broken = self.draw(|random| random.random_bool(0.8).then(|| random.random_range(1..600)));
        sleep(broken.map_or(ANSWER_TIMEOUT, Duration::from_millis)).await;
        StoreError::Unknown("no answer came".into())
    }

    /// Executes a statement at some later time, although nobody waits for it any more.
    fn apply_late(self: &Arc<Self>, by: usize, server: u64, writes: Arc<Vec<Write>>) {
        let ms = self.draw(|random| {
            let long = random.random_bool(0.4);
            if long { random.random_range(0..7_000) } else { random.random_range(0..650) }
        });
        let database = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(ms)).await;
            database.record.note(&format!("a late statement of replica {by} arrives"));
            if database.is_there(server).is_ok() {
                // Nobody waits for its answer.
                drop(database.apply(by, &writes));
            }
        });
    }

    /// Waits until nobody has these rows locked, with the time limit of a server.
    pub(super) async fn wait_for_rows<'k>(
        &self,
        ids: impl Iterator<Item = &'k KeyId> + Clone,
    ) -> Result<(), StoreError> {
        let given_up = Instant::now() + LOCK_TIMEOUT;
        loop {
            let changed = self.changed.notified();
            if !self.tables().is_locked(ids.clone(), Instant::now()) {
                return Ok(());
            }
            if timeout_at(given_up, changed).await.is_err() {
                return Err(StoreError::Transient("lock timeout".into()));
            }
        }
    }

    /// Applies writes, all in one moment; none of them if one cannot lock its guard rows.
    pub(super) fn apply(&self, by: usize, writes: &[Write]) -> Result<Committed, StoreError> {
        let db_time = self.clock();
        for write in writes {
            let slots = self.tables().locked_slots(write);
            if !slots.is_empty() {
                let key = write.change.id.key.as_str();
                self.record.note(&format!("{key}: replica {by} finds the guard rows of {slots:?} locked"));
                self.record.count("guard rows locked");
                return Err(StoreError::GuardOpen(slots));
            }
        }
        let tokens = writes.iter().map(|write| self.apply_one(by, write)).collect();
        Ok(Committed { tokens, db_time: Timestamp(db_time) })
    }

    fn apply_one(&self, by: usize, write: &Write) -> Option<crate::domain::Token> {
        let id = &write.change.id;
        let applied = self.tables().apply(write);
        let Some(applied) = applied else {
            self.record.lost_race(id, by);
            return None;
        };
        match applied {
            Ok(Applied { token, states }) => {
                self.record.applied(id, by, &states, self.clock());
                self.send_notifications(write);
                Some(token)
            }
            Err(corruption) => {
                self.record.fail(format!("{}: {corruption}", id.key.as_str()));
                None
            }
        }
    }

    fn send_notifications(&self, write: &Write) {
        if !self.plan.pushes {
            return;
        }
        for replica in &write.change.effects.notified {
            if self.happens(self.plan.lost_notifications) {
                continue;
            }
            let arrives =
                Instant::now() + Duration::from_millis(self.draw(|random| random.random_range(0..10)));
            let mut tables = self.tables();
            tables.notifications.entry(*replica).or_default().push_back((arrives, write.change.id.clone()));
            drop(tables);
            self.changed.notify_waiters();
        }
    }
}

/// A statement that was sent. If its sender crashes before it is executed, it may be executed nevertheless.
struct Sent<'s> {
    database: &'s Arc<Database>,
    writes: &'s Arc<Vec<Write>>,
    by: usize,
    server: u64,
    open: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if self.open
            && !self.database.record.is_over()
            && self.database.draw(|random| random.random_bool(0.5))
        {
            self.database.apply_late(self.by, self.server, self.writes.clone());
        }
    }
}
