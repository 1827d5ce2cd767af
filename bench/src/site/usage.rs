//! The resources of processes, as `/proc` shows them.

use std::fs;

use crate::number::float;

/// Processor time, in seconds since the processes began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// The service, all replicas together.
    pub(crate) service: f64,
    /// The other server, with its children: the database of the service, or the peer itself.
    pub(crate) engine: f64,
    /// This program.
    pub(crate) load: f64,
}

impl Usage {
    /// Reads the current values.
    pub(super) fn now(service: &[u32], engine: Option<u32>) -> Self {
        let processes = Process::all();
        let seconds = |root: u32| {
            let ticks = tree(&processes, root).map(|process| process.ticks).sum::<u64>();
            float(ticks) / float(rustix::param::clock_ticks_per_second())
        };
        Self {
            service: service.iter().copied().map(seconds).sum(),
            engine: engine.map(seconds).unwrap_or_default(),
            // The servers are children of this process, so only its own share is read.
            load: own_seconds(),
        }
    }

    /// The usage since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            service: self.service - earlier.service,
            engine: self.engine - earlier.engine,
            load: self.load - earlier.load,
        }
    }
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// The resident set of the service's processes.
    pub(crate) service: u64,
    /// The memory of all processes of the stand. Shared pages are counted once.
    pub(crate) all: u64,
}

impl Memory {
    /// Reads the current values.
    pub(super) fn now(service: &[u32], engine: Option<u32>) -> Self {
        let processes = Process::all();
        let service_bytes = service.iter().map(|&id| kibibytes(id, "status", "VmRSS:")).sum::<u64>();
        let engine_bytes = engine
            .map_or(0, |root| tree(&processes, root).map(|process| proportional(process.id)).sum::<u64>());
        Self { service: service_bytes * 1_024, all: (service_bytes + engine_bytes) * 1_024 }
    }
}

/// The relevant values of a process.
#[derive(Debug, Clone, Copy)]
struct Process {
    id: u32,
    parent: u32,
    /// The time of the process and of its children that ended.
    ticks: u64,
}

impl Process {
    /// All processes.
    fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(|id| Self::parse(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?)).collect()
    }

    /// Reads a line of `/proc/*/stat`. The name, in parentheses, may contain anything.
    fn parse(id: u32, line: &str) -> Option<Self> {
        let fields: Vec<_> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self { id, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// The usage of a process and its descendants. The usage of an ended child is added to the parent that waited for it,
/// so the sum never falls.
fn tree(processes: &[Process], root: u32) -> impl Iterator<Item = Process> {
    let mut found: Vec<_> = processes.iter().copied().filter(|process| process.id == root).collect();
    let mut next = 0;
    while let Some(&Process { id, .. }) = found.get(next) {
        found.extend(processes.iter().copied().filter(|process| process.parent == id));
        next += 1;
    }
    found.into_iter()
}

/// The processor time of this process without its children.
fn own_seconds() -> f64 {
    let line = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = line.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    float(ticks.sum::<u64>()) / float(rustix::param::clock_ticks_per_second())
}

/// The proportional memory of a process, in KiB; its resident set if the former may not be read.
fn proportional(id: u32) -> u64 {
    match kibibytes(id, "smaps_rollup", "Pss:") {
        0 => kibibytes(id, "status", "VmRSS:"),
        share => share,
    }
}

/// A value in KiB from a file of a process; 0 if it cannot be read.
fn kibibytes(id: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Process, tree};

    #[test]
    fn a_name_may_contain_parentheses() {
        let line = "7 (a) b) S 3 7 7 0 -1 0 1 0 0 0 10 20 3 4 20 0 1 0 0";
        let process = Process::parse(7, line);
        assert_eq!(process.map(|process| (process.parent, process.ticks)), Some((3, 37)));
    }

    #[test]
    fn a_tree_has_the_children_of_children() {
        let process = |id, parent| Process { id, parent, ticks: 1 };
        let processes = [process(1, 0), process(2, 1), process(3, 2), process(4, 0)];
        let ids: Vec<_> = tree(&processes, 1).map(|process| process.id).collect();
        assert_eq!(ids, [1, 2, 3]);
    }
}
