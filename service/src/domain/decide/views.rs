//! Views of a state, as answers show them.

use super::{KeyChange, acquire::DEFAULT_LEASE_MS};
use crate::domain::{
    Body, Data, Grant, Guard, Holder, LockView, NotGranted, NotGrantedReason, Now, Permit, Refusal,
    Semaphore, SemaphoreView, reply::HeldView,
};

/// The maximum number of holders that a refusal names.
pub const MOST_HOLDERS: usize = 10;

impl KeyChange {
    pub(super) fn mutex_view(
        &self,
        grant: Option<&Grant>,
        data: Option<&Data>,
        guard: Guard,
        now: Now,
    ) -> LockView {
        LockView {
            id: self.id.clone(),
            is_permit: false,
            held: grant.and_then(|grant| grant.held_view(guard, now)),
            fencing_token: self.state.token,
            data: data.cloned(),
            lease_ms: grant.map_or(DEFAULT_LEASE_MS, |grant| grant.lease_ms),
            guarded: guard.is_on(),
            waiters: self.state.queue.len,
            created_at: self.state.created_at,
            updated_at: self.state.updated_at,
        }
    }

    /// The view of the lock; `None` if the key is not a lock.
    pub(super) fn lock_view(&self, now: Now) -> Option<LockView> {
        let Body::Mutex(mutex) = &self.state.body else { return None };
        Some(self.mutex_view(mutex.grant.as_ref(), mutex.data.as_ref(), mutex.guard, now))
    }

    pub(super) fn permit_view(&self, permit: &Permit, now: Now) -> LockView {
        let guarded = matches!(&self.state.body, Body::Semaphore(semaphore)
            if semaphore.guarded && (!permit.grant.is_active(now) || semaphore.permits.is_named(permit)));
        LockView { guarded, waiters: self.state.queue.len, ..permit.view(self.id.clone(), now) }
    }

    pub(super) fn semaphore_view(&self, semaphore: &Semaphore, busy_count: i64) -> SemaphoreView {
        SemaphoreView {
            id: self.id.clone(),
            max_size: semaphore.max_size,
            guarded: semaphore.guarded,
            busy_count,
            waiters: self.state.queue.len,
            lease_ms: semaphore.lease_ms,
            created_at: self.state.created_at,
            updated_at: self.state.updated_at,
        }
    }

    pub(super) fn holders(&self, now: Now) -> Vec<Holder> {
        match &self.state.body {
            Body::Absent => Vec::new(),
            Body::Mutex(mutex) => {
                let active = mutex.grant.as_ref().filter(|_| mutex.is_taken(now));
                active.map(|grant| holder(grant, now)).into_iter().collect()
            }
            Body::Semaphore(semaphore) => {
                let active = semaphore.permits.active(now);
                semaphore
                    .permits
                    .ending()
                    .chain(active)
                    .take(MOST_HOLDERS)
                    .map(|permit| holder(&permit.grant, now))
                    .collect()
            }
        }
    }

    pub(super) fn not_granted(
        &self,
        reason: NotGrantedReason,
        queue_position: Option<i64>,
        now: Now,
    ) -> Refusal {
        let (holders, waiters) = (self.holders(now), self.state.queue.len);
        let is_ending = self.only_transactions_are_in_the_way(now);
        let reason = if is_ending { NotGrantedReason::GuardedTransaction } else { reason };
        let session = self.guard_busy.as_ref().filter(|_| is_ending).and_then(|busy| busy.session.clone());
        Refusal::NotGranted(NotGranted { reason, holders, waiters, queue_position, session })
    }
}

impl Permit {
    /// The view of the permit, without the number of waiters.
    pub fn view(&self, id: crate::domain::KeyId, now: Now) -> LockView {
        LockView {
            id,
            is_permit: true,
            held: self.grant.held_view(Guard::Off, now),
            fencing_token: self.grant.token,
            data: self.data.clone(),
            lease_ms: self.grant.lease_ms,
            guarded: false,
            waiters: 0,
            created_at: self.grant.acquired_at,
            updated_at: self.updated_at,
        }
    }
}

impl Grant {
    /// The view of the grant while it keeps others out.
    pub fn held_view(&self, guard: Guard, now: Now) -> Option<HeldView> {
        (self.is_active(now) || guard == Guard::EndingHeld).then(|| HeldView {
            version: self.version,
            owner: self.owner.clone(),
            acquired_at: self.acquired_at,
            expires_at: self.expires_at,
            expires_in_ms: expires_in_ms(self, now),
            delete_on_release: self.delete_on_release,
        })
    }
}

fn holder(grant: &Grant, now: Now) -> Holder {
    Holder {
        owner: grant.owner.clone(),
        expires_at: grant.expires_at,
        expires_in_ms: expires_in_ms(grant, now),
    }
}

/// The minimum remaining time of a lease, but never more than it was granted for: readings of the time differ by a
/// millisecond or two, and by more after a step back of the database's clock.
fn expires_in_ms(grant: &Grant, now: Now) -> i64 {
    grant.expires_at.ms_since(now.at_most).clamp(0, grant.lease_ms.max(0))
}
