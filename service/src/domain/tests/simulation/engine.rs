//! What a replica does in the world: batches, commits, timers, nudges, clean-ups, and its end.

use std::collections::BTreeSet;

use rand::Rng;
use uuid::Uuid;

use super::{
    ledger::{Told, current},
    replica::{Attempt, Flight, Local, Outcome, Statement, Work, nonce},
    world::{Event, LIVELY_MS, World},
};
use crate::domain::{
    Acquire, Command, Effects, Grant, KeyState, LeaveReason, LockView, Now, Place, Refusal, ReplicaId, Reply,
    Verdict, Version, Working,
};

impl World {
    /// A command arrives at a replica.
    pub(super) fn send(&mut self, replica: usize, command: Command) {
        self.replicas[replica].inbox.push_back(command);
        self.after(0..2, Event::Decide { replica });
    }

    pub(super) fn decide(&mut self, index: usize) {
        let now = self.reading();
        let stamp = self.stamp();
        let trusts = self.random.random_bool(0.9);
        let replica = &mut self.replicas[index];
        if replica.is_busy() || replica.inbox.is_empty() {
            return;
        }
        let work = Work::new(replica.inbox.drain(..).collect());
        let state = replica.memory.take().unwrap_or_else(KeyState::absent);
        let outcome =
            if trusts { replica.decide(work, state, false, now, stamp) } else { Outcome::Load(work) };
        self.proceed(index, outcome);
    }

    pub(super) fn load(&mut self, index: usize) {
        let Some(mut work) = self.replicas[index].loading.take() else { return };
        let clock = self.clock();
        let state = self.database.load(&work.want(self.bound), clock);
        let applied = work.attempts.iter().position(|attempt| Some(attempt.stamp) == state.stamp);
        if let Some(applied) = applied {
            let attempt = work.attempts.swap_remove(applied);
            return self.finish(index, work, attempt.verdicts, attempt.effects, state);
        }
        let mut now = self.reading();
        now.at_least = now.at_least.max(crate::domain::Timestamp(clock));
        let stamp = self.stamp();
        let outcome = self.replicas[index].decide(work, state, true, now, stamp);
        if let Outcome::Answered { state, work, .. } = &outcome
            && !work.commands.is_empty()
            && work.commands.iter().all(|command| *command == Command::Settle)
        {
            let suspects = &self.replicas[index].suspects;
            let spins = state.next_event(now, suspects).is_some_and(|event| event <= now.at_least);
            assert!(!spins, "a look that changes nothing asks for another at once: {state:?}");
        }
        self.proceed(index, outcome);
    }

    fn proceed(&mut self, index: usize, outcome: Outcome) {
        match outcome {
            Outcome::Write(flight) => {
                self.replicas[index].flight = Some(*flight);
                self.after(1..8, Event::Commit { replica: index });
            }
            Outcome::Answered { state, verdicts, work } => {
                self.finish(index, work, verdicts, Effects::default(), *state);
            }
            Outcome::Load(work) => {
                self.replicas[index].loading = Some(work);
                self.after(1..5, Event::Load { replica: index });
            }
        }
    }

    pub(super) fn commit(&mut self, index: usize) {
        let Some(Flight { work, statement, verdicts }) = self.replicas[index].flight.take() else { return };
        let stamp = statement.stamp;
        if self.now < LIVELY_MS && self.random.random_bool(0.04) {
            let effects = statement.working.effects.clone();
            let prev = statement.prev;
            let asked = self.ask_for_fate(index, work, Attempt { prev, stamp, verdicts, effects });
            // Mostly it is carried out about when it is asked for, which is the worst time.
            let around = if self.random.random_bool(0.7) { -10..20 } else { -3_000..3_000 };
            let late = asked + self.random.random_range(around);
            return self.at(late, Event::Late { statement });
        }
        if !self.apply(&statement) {
            self.totals.lost_races += 1;
            self.replicas[index].loading = Some(work);
            return self.after(1..5, Event::Load { replica: index });
        }
        let prev = statement.prev;
        let Working { mut state, effects, .. } = *statement.working;
        if self.now < LIVELY_MS && self.random.random_bool(0.04) {
            self.totals.lost_answers += 1;
            self.ask_for_fate(index, work, Attempt { prev, stamp, verdicts, effects });
            return;
        }
        state.stamp = Some(stamp);
        self.finish(index, work, verdicts, effects, state);
    }

    /// The connection broke: whether the write was applied, or will be, has to be found out. Returns when it is.
    fn ask_for_fate(&mut self, index: usize, mut work: Work, attempt: Attempt) -> i64 {
        work.mark_retried();
        work.attempts.push(attempt);
        self.replicas[index].loading = Some(work);
        let asked = self.now + self.random.random_range(5..3_000);
        self.at(asked, Event::Load { replica: index });
        asked
    }

    /// The database carries out a statement. Returns whether it wrote.
    fn apply(&mut self, statement: &Statement) -> bool {
        let queue_before = self.database.waiters.values().cloned().collect();
        let places_before = self.database.places();
        let standing = |grant: &Grant| grant.stands(Now::exactly(self.clock()));
        let held_before = current(&self.database).into_values().filter(standing);
        let held_before: BTreeSet<_> = held_before.map(|grant| grant.version).collect();
        if !self.database.commit(statement.prev, statement.stamp, &statement.working) {
            return false;
        }
        for version in &statement.given_back {
            let ended = current(&self.database).get(version).is_none_or(|grant| grant.released);
            let was_there = held_before.contains(version);
            assert!(
                !(was_there && ended && self.relies_on(*version)),
                "invariant 7: {version:?} is given back, and somebody was told that it holds"
            );
        }
        let told = Told { statement, queue_before, places_before };
        let clock = self.clock();
        self.ledger.committed(&self.database, &told, clock);
        self.totals.passed_over += statement.working.effects.passed_over;
        true
    }

    /// A statement arrives of which nobody knew any more where it was.
    pub(super) fn apply_late(&mut self, statement: &Statement) {
        if self.apply(statement) {
            self.totals.late += 1;
            let otherwise = self.answered_otherwise.contains(&statement.stamp.0);
            assert!(!otherwise, "invariant 3: what was answered otherwise is written later: {statement:?}");
        }
    }

    /// The verdicts hold.
    fn finish(
        &mut self,
        index: usize,
        work: Work,
        verdicts: Vec<Verdict>,
        effects: Effects,
        state: KeyState,
    ) {
        let others = work.attempts.iter().map(|attempt| attempt.stamp.0);
        self.answered_otherwise.extend(others);
        for (command, verdict) in work.commands.into_iter().zip(verdicts) {
            match (command, verdict) {
                (Command::Acquire(acquire), Verdict::Reply(reply)) => self.answer(index, &acquire, &reply),
                (Command::Acquire(acquire), Verdict::Waiting { wait_ms }) => {
                    self.wait(index, &acquire, wait_ms);
                }
                // One that was answered meanwhile has its answer.
                (Command::Leave { nonce, .. }, Verdict::Reply(reply))
                    if reply != Reply::Done && self.replicas[index].waiters.contains_key(&nonce.0) =>
                {
                    self.answer_waiter(index, nonce.0, &reply);
                }
                (Command::Heartbeat(heartbeat), Verdict::Reply(reply)) => {
                    self.ledger.answered(&reply);
                    self.heard(heartbeat.version, &reply);
                }
                (Command::Release(release), Verdict::Reply(_)) => self.released(release.version),
                (Command::GiveBack { nonce, .. }, Verdict::Reply(_)) => drop(self.pending.remove(&nonce.0)),
                _ => {}
            }
        }
        for (nonce, reply) in effects.answered {
            self.answer_waiter(index, nonce.0, &reply);
        }
        for nudged in effects.nudged {
            let replica = self.replicas.iter().position(|replica| replica.id == nudged);
            if let Some(replica) = replica.filter(|_| self.random.random_bool(0.7)) {
                self.after(1..100, Event::Nudged { replica });
            }
        }
        if effects.unfinished {
            self.send(index, Command::Settle);
        }
        for replica in effects.suspects {
            self.replicas[index].suspects.insert(replica);
            // By then its beat has been seen, or it is known to be dead.
            self.after(1_000..2_000, Event::Cleared { observer: index, replica });
        }
        self.set_timer(index, &state);
        let longest = self.bound;
        self.replicas[index].remember(state, longest);
        self.after(0..2, Event::Decide { replica: index });
    }

    fn set_timer(&mut self, index: usize, state: &KeyState) {
        let clock = self.clock();
        let event = state.next_event(Now::exactly(clock), &self.replicas[index].suspects);
        let at = event.map(|at| (at.0 - clock).max(1) + self.now);
        self.replicas[index].timer = at;
        if let Some(at) = at {
            self.at(at, Event::Timer { replica: index, at });
        }
    }

    fn wait(&mut self, index: usize, acquire: &Acquire, wait_ms: i64) {
        self.totals.waited += 1;
        let request = acquire.nonce.0;
        let since = self.now;
        self.replicas[index].waiters.insert(request, Local { version: acquire.version, since });
        if self.listens(request) {
            self.after(wait_ms..wait_ms + 5, Event::Deadline { replica: index, request });
        } else {
            self.leave(index, request, LeaveReason::HungUp);
        }
    }

    fn leave(&mut self, index: usize, request: i64, reason: LeaveReason) {
        let Some(local) = self.replicas[index].waiters.get(&request) else { return };
        let command = Command::Leave { version: local.version, nonce: nonce(request), reason };
        self.send(index, command);
    }

    pub(super) fn deadline(&mut self, index: usize, request: i64) {
        // Also for a caller that asked again elsewhere: its first connection is still there.
        self.leave(index, request, LeaveReason::TimedOut);
    }

    /// A client's connection went away: its replica notices.
    pub(super) fn hung_up(&mut self, index: usize, request: i64) {
        self.leave(index, request, LeaveReason::HungUp);
    }

    fn answer_waiter(&mut self, index: usize, request: i64, reply: &Reply) {
        let Some(local) = self.replicas[index].waiters.remove(&request) else {
            // A grant for somebody of whom nothing is known any more.
            if let Reply::Granted(LockView { held: Some(held), .. }) = reply {
                let command = Command::GiveBack { version: held.version, nonce: nonce(request) };
                self.send(index, command);
            }
            return;
        };
        if matches!(reply, Reply::Refused(Refusal::Superseded)) {
            self.totals.superseded += 1;
        }
        self.deliver(index, request, local.version, reply);
    }

    fn answer(&mut self, index: usize, acquire: &Acquire, reply: &Reply) {
        self.deliver(index, acquire.nonce.0, acquire.version, reply);
    }

    fn deliver(&mut self, index: usize, request: i64, version: Version, reply: &Reply) {
        self.ledger.answered(reply);
        if let Reply::Granted(LockView { held: Some(held), .. }) = reply {
            self.answered.entry(held.version).or_default().insert(request);
        }
        if self.told(request, reply) || !matches!(reply, Reply::Granted(_)) {
            self.pending.remove(&request);
            return;
        }
        self.totals.given_back += 1;
        let command = Command::GiveBack { version, nonce: nonce(request) };
        let kept = if self.chose(request) { 10_000 } else { 1 };
        if self.chose(request) {
            self.send(index, Command::Keep { version, nonce: nonce(request) });
        }
        self.after(kept..kept + 3, Event::GiveBack { replica: index, command });
    }

    /// The fallback: offers to this replica, waiters missing from the database, places of requests that are over.
    pub(super) fn look(&mut self, index: usize) {
        self.after(100..300, Event::Look { replica: index });
        let (id, busy) = (self.replicas[index].id, self.replicas[index].is_busy());
        let mut rows = Vec::new();
        for waiter in self.database.waiters.values() {
            if let Place::Attached { replica, nonce, offered_until } = waiter.place
                && replica == id
            {
                rows.push((nonce, waiter.version, offered_until.is_some()));
            }
        }
        if rows.iter().any(|(.., offered)| *offered) {
            self.send(index, Command::Settle);
        }
        let found: BTreeSet<_> = rows.iter().map(|(nonce, ..)| nonce.0).collect();
        let old = self.now - 2_000;
        let locals = self.replicas[index].waiters.iter();
        let missing = locals.filter(|(request, local)| local.since < old && !found.contains(request));
        for request in missing.map(|(request, _)| *request).collect::<Vec<_>>() {
            self.leave(index, request, LeaveReason::Missing);
        }
        for (nonce, version, _) in rows {
            if !busy
                && self.replicas[index].inbox.is_empty()
                && !self.replicas[index].waiters.contains_key(&nonce.0)
            {
                self.send(index, Command::Leave { version, nonce, reason: LeaveReason::Evicted });
            }
        }
        // Places at replicas that no longer exist, whoever knew them, are cleared too.
        let exists = |id: ReplicaId| self.replicas.iter().any(|replica| replica.id == id);
        let stray = self.database.waiters.values().find_map(|waiter| match waiter.place {
            Place::Attached { replica, .. } if !exists(replica) => Some(replica),
            Place::Attached { .. } | Place::Detached { .. } => None,
        });
        if let Some(replica) = stray.filter(|_| self.random.random_bool(0.05)) {
            self.replicas[index].dead.insert(replica);
            self.send(index, Command::Bury { replica });
        }
        // Places that were kept and lapsed are cleared by whoever looks.
        let lapsed = |place: Place| matches!(place, Place::Detached { until } if until.0 <= self.clock());
        if self.database.waiters.values().any(|waiter| lapsed(waiter.place)) {
            self.send(index, Command::Settle);
        }
    }

    pub(super) fn learn_dead(&mut self, observer: usize, replica: ReplicaId) {
        self.replicas[observer].dead.insert(replica);
        self.send(observer, Command::Bury { replica });
        self.after(2_000..2_100, Event::Dead { observer, replica });
    }

    /// This replica finds that it was taken for dead: it answers its waiters and goes on under a new name.
    pub(super) fn evict(&mut self, index: usize) {
        let requests: Vec<_> = self.replicas[index].waiters.keys().copied().collect();
        for request in requests {
            self.told(request, &Reply::Refused(Refusal::PassedOver));
            self.leave(index, request, LeaveReason::Evicted);
        }
        self.replicas[index].id = ReplicaId(Uuid::from_u128(self.next_serial().into()));
    }

    /// Something goes wrong.
    pub(super) fn chaos(&mut self) {
        if self.now >= LIVELY_MS {
            return;
        }
        self.after(500..6_000, Event::Chaos);
        let index = self.random.random_range(0..self.replicas.len());
        match self.random.random_range(0..10) {
            0..=2 if self.replicas.len() > 1 => self.crash(index),
            3..=5 => self.pause(index),
            6 => self.step_clock(),
            7..=9 => self.administer(index),
            _ => {}
        }
    }

    fn crash(&mut self, index: usize) {
        self.totals.crashes += 1;
        let (id, life) = (self.replicas[index].id, self.replicas[index].life + 1);
        self.lose_connections(index);
        if let Some(Flight { statement, .. }) = self.replicas[index].flight.take() {
            self.after(0..3_000, Event::Late { statement });
        }
        let lost = self.pending.extract_if(.., |_, (replica, _)| *replica == index);
        self.orphaned.extend(lost.map(|(_, (_, version))| version));
        let fresh = super::replica::Replica::new(ReplicaId(Uuid::from_u128(self.next_serial().into())));
        self.replicas[index] = super::replica::Replica { life, ..fresh };
        self.after(100..300, Event::Look { replica: index });
        for observer in 0..self.replicas.len() {
            self.after(3_000..3_500, Event::Dead { observer, replica: id });
        }
    }

    fn pause(&mut self, index: usize) {
        self.totals.pauses += 1;
        let pause = self.random.random_range(100..7_000);
        self.replicas[index].paused_until = self.now + pause;
        if pause < 3_500 {
            return;
        }
        let id = self.replicas[index].id;
        for observer in (0..self.replicas.len()).filter(|observer| *observer != index) {
            self.after(3_000..3_500, Event::Dead { observer, replica: id });
        }
        self.after(pause + 10..pause + 1_000, Event::PassedOver { replica: index });
    }

    fn step_clock(&mut self) {
        self.totals.steps += 1;
        self.database.clock_offset += self.random.random_range(-6_000..6_000);
    }
}
