//! Shedding of acquires that would wait too long for a batch: an early refusal is better than a long wait for all.
//!
//! Only acquires of callers are shed, and only those that were never written. Heartbeats, releases and other commands
//! that free keys go first and are never shed. Each tenant has a line of its own ([`Intake`](super::intake::Intake)),
//! so a tenant that floods the service has only its own acquires shed.

use std::time::Duration;

use tokio::time::Instant;

use super::{Shard, backpressure::Backpressure};
use crate::{
    SeededMap, SeededSet,
    domain::{Command, Tenant},
    engine::{metrics::ShedReason, pending_request::PendingRequest},
    unavailable::Unavailable,
};

/// How long a count of the tenants' shares is used.
const SHARES_KEPT_FOR: Duration = Duration::from_millis(50);

/// The tenants with more queued commands than their share, by the last count.
#[derive(Debug, Default)]
pub(super) struct Shares {
    counted: Option<Instant>,
    /// The number of queued commands at the last count.
    queued: usize,
    above: SeededSet<Tenant>,
}

impl Shares {
    /// Counts again. A tenant is above its share if it has at least as many commands as tenants have on average.
    fn count<'r>(&mut self, requests: impl Iterator<Item = &'r PendingRequest>, queued: usize, now: Instant) {
        let mut counts: SeededMap<&Tenant, usize> = SeededMap::default();
        for request in requests {
            *counts.entry(&request.id.tenant).or_default() += 1;
        }
        let all: usize = counts.values().sum();
        let tenants = counts.len();
        self.above = counts
            .into_iter()
            .filter(|(_, count)| count.saturating_mul(tenants) >= all)
            .map(|(tenant, _)| tenant.clone())
            .collect();
        self.counted = Some(now);
        self.queued = queued;
    }

    /// Whether a new count is due: the last one is too old, or the queue has grown by more than an eighth and 16
    /// commands.
    fn is_due(&self, queued: usize, now: Instant) -> bool {
        let is_old = self.counted.is_none_or(|counted| now.duration_since(counted) >= SHARES_KEPT_FOR);
        is_old || queued > self.queued + self.queued / 8 + 16
    }
}

/// Whether a command may be shed: only a caller's acquire that was never written may be.
fn may_shed(request: &PendingRequest) -> bool {
    matches!(request.command, Command::Acquire(_)) && request.reply.is_some() && !request.may_be_written()
}

impl Shard {
    /// Queues a caller's command for the next batch, unless it is an acquire that would wait too long.
    pub(super) fn admit(&mut self, mut request: PendingRequest) {
        match self.shed_reason(&request) {
            Some(reason) => self.shed(&mut request, reason),
            None => self.enqueue(request),
        }
    }

    /// The number of commands that wait for a batch and may be part of the next one.
    pub(super) fn waiting_commands(&self) -> usize {
        self.intake.waiting(Backpressure::of(&self.in_flight))
    }

    /// The reason to shed an acquire that arrives now; `None` to accept it.
    fn shed_reason(&mut self, request: &PendingRequest) -> Option<ShedReason> {
        if !may_shed(request) {
            return None;
        }
        let tenant = &request.id.tenant;
        if self.intake.queued() >= self.max_queued() && self.is_above_share(tenant) {
            return Some(ShedReason::QueueFull);
        }
        let max = self.shared.options.max_queue_wait;
        let would_wait = self.intake.would_wait(tenant, request.arrived)?;
        (would_wait > max && !self.shared.outage.is_ongoing()).then_some(ShedReason::QueueWait)
    }

    /// The number of queued commands from which on this shard sheds acquires.
    fn max_queued(&self) -> usize {
        self.shared.options.max_queued.div_ceil(self.shared.shard_count())
    }

    fn is_above_share(&mut self, tenant: &Tenant) -> bool {
        let (now, queued) = (Instant::now(), self.intake.queued());
        if self.shares.is_due(queued, now) {
            self.shares.count(self.intake.requests(), queued, now);
        }
        self.shares.above.contains(tenant)
    }

    /// Sheds the acquires that have waited too long for a batch: more commands arrived at once than the measured pace
    /// foresaw.
    pub(super) fn shed_late(&mut self, now: Instant) {
        if self.shared.outage.is_ongoing() {
            return;
        }
        let (max, metrics) = (self.shared.options.max_queue_wait, &self.shared.metrics);
        self.intake.retain_backlogged(|request| {
            let is_late = now.duration_since(request.arrived) >= max && may_shed(request);
            if is_late {
                metrics.shed(ShedReason::QueueWait);
                // `fail` names a waiter to answer for leaves only, and this is an acquire.
                let _ = request.fail(Unavailable::Overloaded);
            }
            !is_late
        });
    }

    fn shed(&self, request: &mut PendingRequest, reason: ShedReason) {
        self.shared.metrics.shed(reason);
        let _ = request.fail(Unavailable::Overloaded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Key, KeyId};

    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_at_least_the_average_is_above_its_share() {
        let of = |tenant: &str| {
            let id = KeyId { tenant: Tenant::trusted(tenant), key: Key::trusted("a") };
            PendingRequest::internal(id, Command::ServeQueue, Instant::now())
        };
        let requests = ["a", "a", "a", "b", "c", "c"].map(of);
        let mut shares = Shares::default();
        let now = Instant::now();
        assert!(shares.is_due(0, now));
        shares.count(requests.iter(), 6, now);
        let is_above = |name| shares.above.contains(&Tenant::trusted(name));
        assert_eq!(["a", "b", "c", "d"].map(is_above), [true, false, true, false]);
        assert!(!shares.is_due(6, now) && shares.is_due(6, now + SHARES_KEPT_FOR) && shares.is_due(23, now));
    }
}
