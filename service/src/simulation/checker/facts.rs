//! The checker's knowledge of one grant.

use std::collections::BTreeMap;

use crate::domain::{Grant, Owner};

/// The checker's knowledge of one grant.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Facts {
    pub(super) token: i64,
    pub(super) owner: Owner,
    pub(super) chosen: bool,
    pub(super) expires_at: i64,
    /// The database's clock has reached the end of the lease since the last renewal.
    pub(super) ran_out: bool,
    /// The grant was given back, replaced or deleted, and is never active again.
    pub(super) closed: bool,
    /// The grant is stored in the key's state.
    pub(super) current: bool,
    /// A 200 with the grant was handed to a socket.
    pub(super) db_time: bool,
    /// When the grant was made, by the monotonic clock.
    pub(super) granted_at: i64,
    /// A failover or an operator has changed the grant. Clients that know it may end it, or nobody does.
    pub(super) restored: bool,
    /// All ends of the lease.
    pub(super) ends: Vec<i64>,
    /// The time until which clients rely on the grant, by the monotonic clock.
    pub(super) promises: BTreeMap<usize, i64>,
    /// The number of replaced grants with chosen versions when this one was replaced.
    pub(super) replaced_before: usize,
}

impl Facts {
    pub(super) fn of(grant: &Grant, replaced_before: usize, granted_at: i64) -> Self {
        Self {
            token: grant.token.0,
            owner: grant.owner.clone(),
            chosen: grant.chosen,
            expires_at: grant.expires_at.0,
            ran_out: false,
            closed: grant.released,
            current: true,
            db_time: false,
            granted_at,
            restored: false,
            ends: vec![grant.expires_at.0],
            promises: BTreeMap::new(),
            replaced_before,
        }
    }

    /// Whether the grant is active by the database's clock.
    pub(super) fn is_active(&self) -> bool {
        !self.closed && !self.ran_out
    }

    pub(super) fn is_relied_on(&self, at: i64) -> bool {
        self.promises.values().any(|until| *until > at)
    }
}
