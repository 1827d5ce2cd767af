//! Granting: the one place where a mutex or a permit gets a holder.

use super::{Context, KeyChange, Need, Verdict};
use crate::domain::{
    Acquire, Body, Data, Grant, Guard, LockView, Mutex, Now, Owner, Permit, Place, Reply, RequestId, Version,
    Waiter,
};

/// One who takes, be it at once or from the queue.
pub(super) struct Taker {
    version: Version,
    chosen: bool,
    owner: Owner,
    lease_ms: i64,
    data: Option<Data>,
    replace_data: bool,
    delete_on_release: bool,
    request_id: RequestId,
}

impl Taker {
    pub(super) fn of(acquire: &Acquire, lease_ms: i64) -> Self {
        Self {
            version: acquire.version,
            chosen: acquire.chosen,
            owner: acquire.owner.clone(),
            lease_ms,
            data: acquire.data.clone(),
            replace_data: acquire.replace_data,
            delete_on_release: acquire.delete_on_release,
            request_id: acquire.request_id,
        }
    }

    /// A waiter with a connection; `None` for one without.
    pub(super) fn waiting(waiter: Waiter) -> Option<Self> {
        let Place::Attached { request_id, .. } = waiter.place else { return None };
        Some(Self {
            version: waiter.version,
            chosen: waiter.chosen,
            owner: waiter.owner,
            lease_ms: waiter.lease_ms,
            data: waiter.data,
            replace_data: waiter.replace_data,
            delete_on_release: waiter.delete_on_release,
            request_id,
        })
    }

    pub(super) const fn request_id(&self) -> RequestId {
        self.request_id
    }

    pub(super) const fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl KeyChange {
    /// Grants. The caller has made sure that there is room and that it is the taker's turn.
    pub(super) fn grant(&mut self, taker: Taker, ctx: &Context) -> Result<LockView, Need> {
        let now = ctx.now;
        if self.fresh_tokens && matches!(self.state.body, Body::Semaphore(_)) {
            // A permit's token is written beside the row, and only the database knows how far the row's is raised.
            return Err(Need::NextBatch);
        }
        if !planted!(TokenNotBumped) {
            self.state.token = self.state.token.next(ctx.epoch);
        }
        self.granted_under = Some(ctx.epoch);
        self.mark_changed(now);
        if let Some(granted) = &mut self.effects.granted {
            granted.push(taker.version);
        }
        let grant = Grant {
            version: taker.version,
            chosen: taker.chosen,
            token: self.state.token,
            owner: taker.owner,
            lease_ms: taker.lease_ms,
            acquired_at: now.at_most,
            expires_at: now.at_most.plus_ms(taker.lease_ms),
            released: false,
            delete_on_release: taker.delete_on_release,
            request_id: taker.request_id,
        };
        if let Body::Semaphore(_) = &self.state.body {
            Ok(self.grant_permit(grant, taker.data, now))
        } else {
            Ok(self.grant_mutex(grant, taker.data, taker.replace_data, now))
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
        if mutex.guard.is_on() || grant.request_id.is_guarded() {
            mutex.guard = Guard::Named;
        }
        if let Some(before) = mutex.grant.replace(grant) {
            self.note_replaced(&before, now.at_most);
            if before.chosen {
                self.state.ended.push(before.version, now);
            }
        }
        let view = self.mutex_view(&mutex, mutex.grant.as_ref(), now);
        self.state.body = Body::Mutex(mutex);
        view
    }

    fn grant_permit(&mut self, grant: Grant, data: Option<Data>, now: Now) -> LockView {
        let Body::Semaphore(semaphore) = &mut self.state.body else {
            unreachable!("only a semaphore has permits");
        };
        let slot = semaphore.permits.free_slot(now);
        let (version, asked) = (grant.version, grant.request_id.is_guarded());
        let permit = Permit { slot, grant, data, updated_at: now.at_most };
        self.permits.insert(slot);
        if let Some(before) = semaphore.permits.put(permit.clone()) {
            self.note_replaced(&before, now.at_most);
            if before.chosen {
                self.state.ended.push(before.version, now);
            }
        }
        self.name_permit(slot, version, asked, now);
        self.permit_view(&permit, now)
    }

    /// The grant with the version of an acquire, standing or ended.
    pub(super) fn granted_version(&self, acquire: &Acquire) -> Result<Option<&Grant>, Need> {
        match &self.state.body {
            Body::Absent => Ok(None),
            Body::Mutex(mutex) => Ok(mutex.grant.as_ref().filter(|grant| grant.version == acquire.version)),
            Body::Semaphore(semaphore) => match semaphore.permits.find(acquire.version) {
                Ok(index) => Ok(index.map(|index| &semaphore.permits.known[index].grant)),
                // Nobody can repeat a version that the service has just made.
                Err(version) if acquire.chosen || acquire.retried => Err(Need::Version(version)),
                Err(_) => Ok(None),
            },
        }
    }

    /// The grant's answer goes to one who asked with its version again.
    pub(super) fn reattach_grant(&mut self, acquire: &Acquire, ctx: &Context) -> Result<Verdict, Need> {
        let view = match &mut self.state.body {
            Body::Mutex(mutex) => {
                if let Some(grant) = &mut mutex.grant {
                    grant.repeat_to(acquire.request_id);
                }
                self.lock_view(ctx.now)
            }
            Body::Semaphore(semaphore) => {
                let found = semaphore.permits.find(acquire.version).map_err(Need::Version)?;
                let Some(index) = found else { unreachable!("the grant was found by its version") };
                let permit = &mut semaphore.permits.known[index];
                permit.grant.repeat_to(acquire.request_id);
                self.permits.insert(permit.slot);
                let permit = permit.clone();
                Some(self.permit_view(&permit, ctx.now))
            }
            Body::Absent => None,
        };
        let Some(view) = view else { unreachable!("the grant was found by its version") };
        self.prove();
        Ok(Verdict::Reply(Reply::Granted(view)))
    }
}
