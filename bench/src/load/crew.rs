//! Watches over the tasks of one measurement: when it counts, what the servers use meanwhile, who does not come back.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::timeout_at};

use crate::{
    client::{Failure, Failures},
    number::{count, float},
    report::{Findings, Measure},
    settings::Settings,
    site::{Memory, Site, Usage},
};

/// How long a task may go on after the end: what it waits for is answered by then, or never.
const GRACE: Duration = Duration::from_secs(30);

/// When a measurement counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// From when on.
    pub(super) from: Instant,
    /// Until when.
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

/// What a measurement took.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was used within the window.
    usage: Usage,
    /// The memory at its end, with all connections open.
    memory: Memory,
    /// The window's length, as it turned out.
    seconds: f64,
    /// The tasks that did not come back.
    pub(super) failures: Failures,
}

/// Waits until the window is over and the tasks have ended: what they brought, and what that took.
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
    /// What is said of every measurement, for so many units of work done in the window.
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
