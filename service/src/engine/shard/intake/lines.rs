//! Lines of commands, one for each tenant, served in turn: a tenant that sends very many commands delays only its own.
//!
//! With a single tenant this is one queue. A line is *backlogged* while batches leave some of its commands behind. Then
//! its pace is measured, which shows how long a command that arrives now would wait.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{SeededMap, domain::Tenant, engine::pending_request::PendingRequest};

/// How long commands are counted to measure the pace of a line.
const MEASURED_FOR: Duration = Duration::from_millis(100);

/// The number of lines from which on empty lines are dropped.
const MOST_KEPT: usize = 64;

/// The pace at which a backlogged line is served.
#[derive(Debug)]
struct Pace {
    /// The start of the current measurement.
    since: Instant,
    /// The number of commands taken since the start of the measurement.
    taken: u32,
    /// The time between two commands by the last finished measurement.
    measured: Option<Duration>,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { since: now, taken: 0, measured: None }
    }

    /// Counts a command that is taken.
    fn count(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.since);
        if elapsed >= MEASURED_FOR {
            self.measured = Some(elapsed / self.taken.max(1));
            self.since = now;
            self.taken = 0;
        }
        self.taken += 1;
    }

    /// The time between two commands; `None` before the first measurement has ended. If the line has slowed down since
    /// the last measurement, the current one counts.
    fn between(&self, now: Instant) -> Option<Duration> {
        let current = now.duration_since(self.since) / self.taken.max(1);
        self.measured.map(|measured| measured.max(current))
    }
}

/// The commands of one tenant.
#[derive(Debug)]
struct Line {
    tenant: Tenant,
    requests: VecDeque<PendingRequest>,
    /// The pace; `None` while the line is not backlogged.
    pace: Option<Pace>,
}

/// Commands in lines by tenant.
#[derive(Debug, Default)]
pub(super) struct Lines {
    all: Vec<Line>,
    by_tenant: SeededMap<Tenant, usize>,
    /// The lines that are not empty, in the order of their turns.
    turns: VecDeque<usize>,
    /// The line of the command that was added last.
    last: usize,
    /// The number of commands.
    len: usize,
}

impl Lines {
    /// Adds a command to the end of its tenant's line.
    pub(super) fn push_back(&mut self, request: PendingRequest) {
        let index = self.line_of(&request.id.tenant);
        let line = &mut self.all[index];
        if line.requests.is_empty() {
            self.turns.push_back(index);
        }
        line.requests.push_back(request);
        self.last = index;
        self.len += 1;
    }

    /// Removes and returns the first command of the next line whose tenant is not held back.
    pub(super) fn pop_front(
        &mut self,
        now: Instant,
        is_held: impl Fn(&Tenant) -> bool,
    ) -> Option<PendingRequest> {
        let skipped = self.turns.iter().position(|index| !is_held(&self.all[*index].tenant))?;
        if skipped > 0 {
            self.turns.rotate_left(skipped);
        }
        let line = &mut self.all[*self.turns.front()?];
        let request = line.requests.pop_front()?;
        self.len -= 1;
        if line.requests.is_empty() {
            line.pace = None;
            self.turns.pop_front();
        } else {
            line.pace.get_or_insert_with(|| Pace::new(now)).count(now);
            self.turns.rotate_left(1);
        }
        Some(request)
    }

    /// The number of commands.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The number of commands of tenants that are not held back.
    pub(super) fn len_unless(&self, is_held: impl Fn(&Tenant) -> bool) -> usize {
        if self.is_empty() {
            // This is asked several times for each batch.
            return 0;
        }
        let lines = self.turns.iter().map(|index| &self.all[*index]);
        lines.filter(|line| !is_held(&line.tenant)).map(|line| line.requests.len()).sum()
    }

    /// Whether there are no commands.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How long a command of this tenant that arrives now would wait; `None` unless the pace of the tenant's line was
    /// measured.
    pub(super) fn would_wait(&self, tenant: &Tenant, now: Instant) -> Option<Duration> {
        let line = &self.all[self.find(tenant)?];
        let between = line.pace.as_ref()?.between(now)?;
        Some(between.saturating_mul(u32::try_from(line.requests.len()).unwrap_or(u32::MAX)))
    }

    /// All commands.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PendingRequest> {
        self.all.iter().flat_map(|line| &line.requests)
    }

    /// Removes the commands for which `keep` returns false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut PendingRequest) -> bool) {
        self.retain_of(|_| true, &mut keep);
    }

    /// Removes the commands for which `keep` returns false, only in lines whose pace was measured.
    pub(super) fn retain_backlogged(&mut self, mut keep: impl FnMut(&mut PendingRequest) -> bool) {
        let is_measured = |line: &Line| line.pace.as_ref().is_some_and(|pace| pace.measured.is_some());
        self.retain_of(is_measured, &mut keep);
    }

    fn retain_of(&mut self, of: impl Fn(&Line) -> bool, keep: &mut impl FnMut(&mut PendingRequest) -> bool) {
        for line in self.all.iter_mut().filter(|line| of(line)) {
            let before = line.requests.len();
            line.requests.retain_mut(&mut *keep);
            self.len -= before - line.requests.len();
            if line.requests.is_empty() {
                line.pace = None;
            }
        }
        let all = &self.all;
        self.turns.retain(|index| !all[*index].requests.is_empty());
    }

    fn find(&self, tenant: &Tenant) -> Option<usize> {
        match self.all.get(self.last) {
            Some(line) if line.tenant == *tenant => Some(self.last),
            _ => self.by_tenant.get(tenant).copied(),
        }
    }

    fn line_of(&mut self, tenant: &Tenant) -> usize {
        self.find(tenant).unwrap_or_else(|| self.add_line(tenant.clone()))
    }

    fn add_line(&mut self, tenant: Tenant) -> usize {
        if self.all.len() >= MOST_KEPT && self.turns.len() * 2 <= self.all.len() {
            self.drop_empty();
        }
        let index = self.all.len();
        self.by_tenant.insert(tenant.clone(), index);
        self.all.push(Line { tenant, requests: VecDeque::new(), pace: None });
        index
    }

    /// Drops the empty lines. At least half of all lines are empty then, so this happens rarely.
    fn drop_empty(&mut self) {
        let order: Vec<Tenant> = self.turns.iter().map(|index| self.all[*index].tenant.clone()).collect();
        self.all.retain(|line| !line.requests.is_empty());
        self.by_tenant =
            self.all.iter().enumerate().map(|(index, line)| (line.tenant.clone(), index)).collect();
        self.turns = order.iter().filter_map(|tenant| self.by_tenant.get(tenant).copied()).collect();
        self.last = 0;
    }
}

#[cfg(test)]
mod tests;
