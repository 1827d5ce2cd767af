//! Commands that read, create and resize locks and semaphores.

use super::{Context, Decided, KeyChange, Need, Verdict, refuse};
use crate::domain::{Body, Data, Mutex, Permits, Refusal, Reply, Semaphore};

impl KeyChange {
    pub(super) fn get_lock(&self, ctx: &Context) -> Verdict {
        match &self.state.body {
            Body::Absent => refuse(Refusal::NotFound),
            Body::Semaphore(_) => refuse(Refusal::WrongKind),
            Body::Mutex(mutex) => {
                let view = self.mutex_view(mutex.grant.as_ref(), mutex.data.as_ref(), mutex.guard, ctx.now);
                Verdict::Reply(Reply::Lock { view, created: false })
            }
        }
    }

    pub(super) fn get_semaphore(&self, ctx: &Context) -> Decided {
        self.semaphore_reply(false, ctx)
    }

    pub(super) fn put_lock(&mut self, data: Option<&Data>, guarded: Option<bool>, ctx: &Context) -> Decided {
        if self.is_kept_by_transaction(guarded == Some(false), ctx.now) {
            return Ok(Verdict::GuardOpen(None));
        }
        let refused = match &self.state.body {
            Body::Semaphore(_) => return Ok(refuse(Refusal::WrongKind)),
            Body::Mutex(mutex) if mutex.grant.as_ref().is_some_and(|grant| grant.is_active(ctx.now)) => {
                return Ok(refuse(Refusal::InUse(self.holders(ctx.now))));
            }
            Body::Mutex(mutex) => self.refuse_data(mutex.data.as_ref(), data, ctx),
            Body::Absent => self.refuse_creation(ctx),
        };
        if let Some(verdict) = refused {
            return Ok(verdict);
        }
        let (mut mutex, created) = match std::mem::replace(&mut self.state.body, Body::Absent) {
            Body::Mutex(mutex) => (mutex, false),
            Body::Absent | Body::Semaphore(_) => (Mutex::default(), true),
        };
        if created {
            self.state.created_at = ctx.now.at_most;
        }
        mutex.data = data.cloned();
        // The lock exists for its own sake from now on. Neither the sweeper nor a late release of the ended grant
        // deletes it.
        if let Some(grant) = &mut mutex.grant {
            grant.delete_on_release = false;
        }
        mutex.set_guarded(guarded);
        self.mark_changed(ctx.now);
        let view = self.mutex_view(mutex.grant.as_ref(), mutex.data.as_ref(), mutex.guard, ctx.now);
        self.state.body = Body::Mutex(mutex);
        self.serve_queue(ctx)?;
        Ok(Verdict::Reply(Reply::Lock { view, created }))
    }

    pub(super) fn put_semaphore(
        &mut self,
        max_size: i32,
        lease_ms: Option<i64>,
        default_lease_ms: i64,
        guarded: Option<bool>,
        ctx: &Context,
    ) -> Decided {
        if let Some(verdict) = self.before_resize(max_size, guarded, ctx) {
            return Ok(verdict);
        }
        let refused = self.refuse_creation(ctx);
        let created = match &mut self.state.body {
            Body::Mutex(_) => return Ok(refuse(Refusal::WrongKind)),
            // The queue belongs to a lock of this name that was just deleted, and its waiters want a lock.
            Body::Absent if self.state.queue.len > 0 => return Ok(refuse(Refusal::WrongKind)),
            Body::Absent if let Some(verdict) = refused => return Ok(verdict),
            Body::Absent => {
                let lease_ms = lease_ms.unwrap_or(default_lease_ms);
                self.state.body = Body::Semaphore(Semaphore {
                    max_size,
                    lease_ms,
                    guarded: guarded == Some(true),
                    permits: Permits::default(),
                });
                self.state.created_at = ctx.now.at_most;
                true
            }
            Body::Semaphore(semaphore) => {
                semaphore.max_size = max_size;
                semaphore.lease_ms = lease_ms.unwrap_or(semaphore.lease_ms);
                semaphore.guarded = guarded.unwrap_or(semaphore.guarded);
                false
            }
        };
        self.mark_changed(ctx.now);
        self.serve_queue(ctx)?;
        self.semaphore_reply(created, ctx)
    }

    fn semaphore_reply(&self, created: bool, ctx: &Context) -> Decided {
        let semaphore = match &self.state.body {
            Body::Absent => return Ok(refuse(Refusal::NotFound)),
            Body::Mutex(_) => return Ok(refuse(Refusal::WrongKind)),
            Body::Semaphore(semaphore) => semaphore,
        };
        let busy_count = semaphore.permits.busy(ctx.now).ok_or(Need::Permits(1))?;
        let view = self.semaphore_view(semaphore, busy_count);
        Ok(Verdict::Reply(Reply::Semaphore { view, created }))
    }
}
