//! Watches the tasks of one measurement: its window, the resources of the servers, and tasks that do not end.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::timeout_at};

use crate::{
    client::{Failure, Failures},
    number::{count, float},
    report::{Findings, Measure},
    settings::Settings,
    site::{Memory, Site, Usage},
};

/// The time that a task may run after the end: its request is answered by then, or never.
const GRACE: Duration = Duration::from_secs(30);

/// The window in which a measurement counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// The begin.
    pub(super) from: Instant,
    /// The end.
    pub(super) until: Instant,
}

impl Window {
    /// The window of a measurement that starts now.
    pub(super) fn open(settings: &Settings) -> Self {
        let from = Instant::now() + settings.warm_up;
        Self { from, until: from + settings.window }
    }

    /// Whether something that happened at that moment counts.
    pub(super) fn counts(&self, moment: Instant) -> bool {
        moment >= self.from && moment < self.until
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// The resources that a measurement used.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The processor time used within the window.
    usage: Usage,
    /// The memory at the end of the window, with all connections open.
    memory: Memory,
    /// The actual length of the window.
    seconds: f64,
    /// The number of tasks that did not end.
    pub(super) failures: Failures,
}

/// Waits until the window is over and the tasks have ended. Returns their results and the resources used.
pub(super) async fn watch<T: 'static>(
    site: &Site,
    window: Window,
    mut tasks: JoinSet<T>,
) -> (Vec<T>, Outcome) {
    tokio::time::sleep_until(window.from.into()).await;
    let (began, before) = (Instant::now(), site.usage());
    tokio::time::sleep_until(window.until.into()).await;
    let (seconds, usage) = (began.elapsed().as_secs_f64(), site.usage().since(before));
    let memory = site.memory();
    let mut results = Vec::new();
    let mut failures = Failures::default();
    let last = (window.until + GRACE).into();
    while let Ok(Some(ended)) = timeout_at(last, tasks.join_next()).await {
        match ended {
            Ok(result) => results.push(result),
            Err(error) => failures.add(&Failure::driver("a task of the load", &error)),
        }
    }
    failures.add_times(Failure::Stuck.to_string(), count(tasks.len()));
    tasks.shutdown().await;
    (results, Outcome { usage, memory, seconds, failures })
}

impl Outcome {
    /// The numbers of every measurement, for this number of units of work in the window.
    pub(super) fn describe(&self, findings: &mut Findings, units: usize) {
        let units = float(count(units));
        let server = self.usage.service + self.usage.engine;
        findings.set(Measure::PerSecond, units / self.seconds);
        findings.set(Measure::ServiceCores, self.usage.service / self.seconds);
        findings.set(Measure::ServerCores, server / self.seconds);
        findings.set(Measure::LoadCores, self.usage.load / self.seconds);
        if units > 0.0 {
            findings.set(Measure::ServerCpuUs, server * 1e6 / units);
        }
        findings.set(Measure::ServiceBytes, float(self.memory.service));
        findings.set(Measure::MemoryBytes, float(self.memory.all));
    }
}
