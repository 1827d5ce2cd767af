//! Grants: the one place where a mutex or a permit gets a holder.

use super::{Context, KeyChange, Need, Verdict, target::Target};
use crate::domain::{
    Acquire, Body, Data, Epoch, FutureHolder, Grant, Guard, Kind, LockView, Mutex, Now, Permit, Reply,
    RequestId,
};

impl FutureHolder {
    pub(super) fn of(acquire: &Acquire, lease_ms: i64) -> Self {
        Self {
            version: acquire.version,
            chosen: acquire.chosen,
            owner: acquire.owner.clone(),
            lease_ms,
            replace_data: acquire.replace_data,
            delete_on_release: acquire.delete_on_release,
        }
    }
}

impl KeyChange {
    /// Grants a lock or permit. The caller has made sure that there is room and that it is the holder's turn.
    pub(super) fn grant(
        &mut self,
        holder: FutureHolder,
        data: Option<Data>,
        request_id: RequestId,
        ctx: &Context,
    ) -> Result<LockView, Need> {
        let now = ctx.now;
        if self.fresh_tokens && matches!(self.state.body, Body::Semaphore(_)) {
            // A permit's token is stored in a row of its own, and only the database knows by how much it raises the
            // token of the key's row.
            return Err(Need::NextBatch);
        }
        if !planted!(TokenNotBumped) {
            let epoch = if planted!(EpochNotAdded) { Epoch::default() } else { ctx.epoch };
            self.state.token = self.state.token.next(epoch);
        }
        self.mark_changed(now);
        if let Some(granted) = &mut self.effects.granted {
            granted.push(holder.version);
        }
        let grant = Grant {
            version: holder.version,
            chosen: holder.chosen,
            token: self.state.token,
            owner: holder.owner,
            lease_ms: holder.lease_ms,
            acquired_at: now.at_most,
            expires_at: now.at_most.plus_ms(holder.lease_ms),
            released: false,
            delete_on_release: holder.delete_on_release,
            request_id,
        };
        if let Body::Semaphore(semaphore) = &mut self.state.body {
            let slot = semaphore.permits.free_slot(now);
            let permit = Permit { slot, grant, data, updated_at: now.at_most };
            let before = semaphore.permits.put(permit.clone());
            Ok(self.granted_permit(&permit, before, now))
        } else {
            Ok(self.grant_mutex(grant, data, holder.replace_data, now))
        }
    }

    fn grant_mutex(&mut self, grant: Grant, data: Option<Data>, replace_data: bool, now: Now) -> LockView {
        let mut mutex = match std::mem::replace(&mut self.state.body, Body::Absent) {
            Body::Mutex(mutex) => mutex,
            Body::Absent | Body::Semaphore(_) => {
                self.state.created_at = now.at_most;
                Mutex::default()
            }
        };
        if replace_data || mutex.data.is_none() {
            mutex.data = data;
        }
        if mutex.guard.is_on() || grant.request_id.flags().guarded {
            mutex.guard = Guard::Named;
        }
        self.replaced(mutex.grant.replace(grant), now);
        let view = self.mutex_view(mutex.grant.as_ref(), mutex.data.as_ref(), mutex.guard, now);
        self.state.body = Body::Mutex(mutex);
        view
    }

    fn granted_permit(&mut self, permit: &Permit, before: Option<Grant>, now: Now) -> LockView {
        self.write_permit(permit);
        self.replaced(before, now);
        self.name_permit(permit.slot, permit.grant.version, permit.grant.request_id.flags().guarded, now);
        self.permit_view(permit, now)
    }

    /// Notes that a grant was replaced by another.
    fn replaced(&mut self, before: Option<Grant>, now: Now) {
        let Some(before) = before else { return };
        self.note_replaced(&before, now.at_most);
        if before.chosen {
            self.state.ended.push(before.version, now);
        }
    }

    /// The grant with the version of an acquire, active or ended.
    pub(super) fn granted_target(&self, acquire: &Acquire) -> Result<Option<Target>, Need> {
        match (&self.state.body, self.target(Kind::Mutex, acquire.version)) {
            // Nobody can repeat a version that the service has just made.
            (Body::Semaphore(_), Err(_)) if !acquire.chosen && !acquire.retried => Ok(None),
            (_, found) => Ok(found?.ok()),
        }
    }

    /// Answers a repeat of an acquire with its grant.
    pub(super) fn reattach_grant(
        &mut self,
        mut target: Target,
        request_id: RequestId,
        ctx: &Context,
    ) -> Verdict {
        target.grant_mut().repeat_to(request_id);
        self.rewrite_target(&target);
        Verdict::Reply(Reply::Granted(self.view_of(&target, ctx.now)))
    }
}
