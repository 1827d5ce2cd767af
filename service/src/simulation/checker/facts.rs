//! What is known of one grant.

use std::collections::BTreeMap;

use crate::domain::{Grant, Owner};

/// What is known of one grant.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Facts {
    pub(super) token: i64,
    pub(super) owner: Owner,
    pub(super) chosen: bool,
    pub(super) expires_at: i64,
    /// The database's clock has reached its end since it was leased last.
    pub(super) ran_out: bool,
    /// Given back, replaced or deleted: it never stands again.
    pub(super) closed: bool,
    /// It is on record in the key's state.
    pub(super) current: bool,
    /// A 200 with it was handed to a socket.
    pub(super) db_time: bool,
    /// When it was made, by the monotonic clock.
    pub(super) granted_at: i64,
    /// A failover or an operator has set it to what it is: it may be ended by those who know of it, or by nobody.
    pub(super) restored: bool,
    /// To how many requests it was answered, whether that reached somebody or not.
    pub(super) answers: usize,
    /// Every end that its lease had.
    pub(super) ends: Vec<i64>,
    /// Until when clients rely on it, by the monotonic clock.
    pub(super) promises: BTreeMap<usize, i64>,
    /// How many chosen grants had been replaced when this one was.
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
            answers: 0,
            ends: vec![grant.expires_at.0],
            promises: BTreeMap::new(),
            replaced_before,
        }
    }

    /// Whether it stands, as the database's clock has it.
    pub(super) fn is_active(&self) -> bool {
        !self.closed && !self.ran_out
    }

    pub(super) fn is_relied_on(&self, at: i64) -> bool {
        self.promises.values().any(|until| *until > at)
    }
}
