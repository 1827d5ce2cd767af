//! Which tenants' commands have to stay in the intake.
//!
//! A tenant's commands stay there while a line behind the intake is full and the tenant has its share of that line. In
//! each line the tenants take turns. So commands of one tenant, however many and however large, neither delay those of
//! another nor fill the memory with decided states.

use super::in_flight::InFlight;
use crate::{domain::Tenant, engine::cache::Cache, store::BatchLimits};

/// The number of loads of which the tasks may wait before commands that write stay in the intake.
const LOADS: usize = 2;

/// The same for commands that only read.
const LOADS_OF_READS: usize = 1;

/// What limits the next batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRoom<'s> {
    /// The limits of batches on this database.
    pub(super) limits: BatchLimits,
    /// Which commands stay in the intake.
    pub(super) backpressure: Backpressure<'s>,
    /// The states from which it is known how much a write repeats.
    pub(super) cache: &'s Cache,
}

/// Which tenants' commands stay in the intake, by the tasks in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backpressure<'f>(&'f InFlight);

impl<'f> Backpressure<'f> {
    /// The backpressure of these tasks.
    pub(super) const fn of(in_flight: &'f InFlight) -> Self {
        Self(in_flight)
    }

    /// Whether a tenant's urgent commands stay.
    pub(super) fn holds_urgent(self, tenant: &Tenant) -> bool {
        self.0.commits.is_full_of_urgent(tenant)
            || self.0.guarded.is_full_of_urgent(tenant)
            || self.0.loads.are_full_of_urgent(tenant, LOADS)
    }

    /// Whether a tenant's leaves, acquires, and other commands stay that are not urgent and write.
    pub(super) fn holds_others(self, tenant: &Tenant) -> bool {
        self.0.commits.is_full_of_others(tenant)
            || self.0.guarded.is_full(tenant)
            || self.0.loads.are_full_of_others(tenant, LOADS)
    }

    /// Whether a tenant's commands stay that only read.
    pub(super) fn holds_reads(self, tenant: &Tenant) -> bool {
        self.0.loads.are_full_of_others(tenant, LOADS_OF_READS)
    }
}
