//! Lists in lines, one line for each tenant: which list may run next. This module has no clock and no tasks.

use std::collections::VecDeque;

use crate::{SeededMap, domain::Tenant};

/// The most lists that may wait for their first turn.
const MOST_WAITING: usize = 1_000;
/// The most lists that may be interrupted at a time. Each of them keeps up to 4 MiB of a page.
const MOST_PAUSED: usize = 32;
/// The most pages that are being read, or that their callers have not taken yet. Each of them has up to 4 MiB.
const MOST_PAGES: usize = 32;
/// The same, for one line. Callers that are slow to take their pages only delay their own line.
const MOST_PAGES_OF_A_LINE: usize = 4;

/// The name of a line: the tenant; `None` is the line of administrators of all tenants.
pub(super) type Name = Option<Tenant>;

/// A list that waits. Dropping `wake` refuses the list.
#[derive(Debug)]
struct Waiting<W> {
    id: u64,
    wake: W,
    /// Whether the list has run already, and was interrupted.
    is_paused: bool,
}

/// The lists of one tenant.
#[derive(Debug)]
struct Line<W> {
    /// The lists that wait. Interrupted ones are at the front, so a line never has more of them than it may run.
    waiting: VecDeque<Waiting<W>>,
    /// Number of lists that run.
    running: usize,
    /// Number of finished pages that their callers have not taken yet.
    finished: usize,
    /// Whether the line is in [`Lines::ready`].
    is_ready: bool,
}

/// All lines.
#[derive(Debug)]
pub(super) struct Lines<W> {
    /// The most lists that run at a time.
    slots: usize,
    by_name: SeededMap<Name, Line<W>>,
    /// The lines with a list that may run, in the order of their turns.
    ready: VecDeque<Name>,
    running: usize,
    /// Number of lists that wait for their first turn.
    waiting: usize,
    paused: usize,
    finished: usize,
    last_id: u64,
}

impl<W> Lines<W> {
    /// Lines of which at most `slots` lists run at a time.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            by_name: SeededMap::default(),
            ready: VecDeque::new(),
            running: 0,
            waiting: 0,
            paused: 0,
            finished: 0,
            last_id: 0,
        }
    }

    /// Adds a list to the end of a line, and returns its id there. If too many lists wait, the longest line loses its newest
    /// list, which may be this one.
    pub(super) fn join(&mut self, name: &Name, wake: W) -> u64 {
        let id = self.next_id();
        self.line(name).waiting.push_back(Waiting { id, wake, is_paused: false });
        self.waiting += 1;
        self.make_ready(name);
        if self.waiting > MOST_WAITING {
            self.refuse_newest_of_longest(name);
        }
        id
    }

    /// Takes the next list that may run. The caller wakes it.
    pub(super) fn next(&mut self) -> Option<W> {
        if !self.has_room() {
            return None;
        }
        let name = self.ready.pop_front()?;
        let line = self.line(&name);
        line.is_ready = false;
        let next = line.waiting.pop_front()?;
        line.running += 1;
        self.running += 1;
        self.count_left(next.is_paused);
        self.make_ready(&name);
        Some(next.wake)
    }

    /// Interrupts a list that runs, for lists of other lines. It waits at the front of its own line, with this id. `None` if
    /// no other line waits.
    pub(super) fn pause(&mut self, name: &Name, wake: W) -> Option<u64> {
        let is_in_demand = self.ready.iter().any(|ready| ready != name);
        if !is_in_demand || self.paused >= MOST_PAUSED {
            return None;
        }
        let id = self.next_id();
        self.line(name).waiting.push_front(Waiting { id, wake, is_paused: true });
        self.paused += 1;
        self.end(name);
        Some(id)
    }

    /// Removes a list that waits; `false` if it does not wait any more.
    pub(super) fn leave(&mut self, name: &Name, id: u64) -> bool {
        let Some(line) = self.by_name.get_mut(name) else { return false };
        let at = line.waiting.iter().position(|waiting| waiting.id == id);
        let Some(left) = at.and_then(|at| line.waiting.remove(at)) else { return false };
        self.count_left(left.is_paused);
        self.tidy(name);
        true
    }

    /// Notes that a list no longer runs.
    pub(super) fn end(&mut self, name: &Name) {
        self.running -= 1;
        self.line(name).running -= 1;
        self.make_ready(name);
        self.tidy(name);
    }

    /// Notes that the page of a list is finished. The list no longer runs.
    pub(super) fn finish(&mut self, name: &Name) {
        self.finished += 1;
        self.line(name).finished += 1;
        self.end(name);
    }

    /// Notes that the caller has taken a finished page, or is gone.
    pub(super) fn taken(&mut self, name: &Name) {
        self.finished -= 1;
        self.line(name).finished -= 1;
        self.make_ready(name);
        self.tidy(name);
    }

    /// The most lists of one line that run at a time: half of all. This also holds while no other line waits, since a
    /// statement cannot be interrupted: another tenant finds a free slot at once.
    const fn share(&self) -> usize {
        if self.slots > 1 { self.slots / 2 } else { 1 }
    }

    /// Whether one more list may run.
    fn has_room(&self) -> bool {
        self.running < self.slots && self.running + self.finished < self.slots.max(MOST_PAGES)
    }

    const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn count_left(&mut self, was_paused: bool) {
        *(if was_paused { &mut self.paused } else { &mut self.waiting }) -= 1;
    }

    fn line(&mut self, name: &Name) -> &mut Line<W> {
        self.by_name.entry(name.clone()).or_insert_with(|| Line {
            waiting: VecDeque::new(),
            running: 0,
            finished: 0,
            is_ready: false,
        })
    }

    /// Gives a line its turn after all others, if one of its lists may run.
    fn make_ready(&mut self, name: &Name) {
        let share = self.share();
        let line = self.line(name);
        let pages = line.running + line.finished;
        let may_run = line.running < share && pages < share.max(MOST_PAGES_OF_A_LINE);
        if may_run && !line.waiting.is_empty() && !line.is_ready {
            line.is_ready = true;
            self.ready.push_back(name.clone());
        }
    }

    /// Takes its turn from a line in which nobody waits, and forgets the line if it is empty.
    fn tidy(&mut self, name: &Name) {
        let line = self.line(name);
        if !line.waiting.is_empty() {
            return;
        }
        let is_empty = line.running == 0 && line.finished == 0;
        if std::mem::take(&mut line.is_ready) {
            self.ready.retain(|ready| ready != name);
        }
        if is_empty {
            self.by_name.remove(name);
        }
    }

    /// Refuses the newest list of the longest line. If several lines are equally long, it is a list of `newcomer`.
    fn refuse_newest_of_longest(&mut self, newcomer: &Name) {
        let length = |line: &Line<W>| line.waiting.iter().filter(|waiting| !waiting.is_paused).count();
        let longest = self.by_name.iter().max_by_key(|(name, line)| (length(line), *name == newcomer));
        let Some(longest) = longest.map(|(name, _)| name.clone()) else { return };
        // Those that wait for their first turn are behind those that were interrupted.
        if self.line(&longest).waiting.pop_back().is_some() {
            self.count_left(false);
            self.tidy(&longest);
        }
    }
}

#[cfg(test)]
mod tests;
