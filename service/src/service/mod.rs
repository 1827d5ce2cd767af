//! The lock service as its callers see it: one method for each operation, typed requests, typed answers.
//!
//! It has no rules (those are the domain's) and no I/O (that is the engine's and the store's). It makes commands of
//! requests, creates random values, and turns replies into results.

mod delivery;
pub(crate) mod error;
mod readiness;
mod reply;
mod request;

use std::sync::Arc;

use crate::{
    audit::{self, AuditEvent, AuditRecord, Origin},
    domain::{
        Acquire, Command, DEFAULT_LEASE_MS, Data, DataEdit, ForcedRelease, Heartbeat, Key, KeyId, Kind,
        LockView, Refusal, Release, Reply, RequestFlags, SemaphoreView, Tenant, Version,
    },
    engine::Engine,
    observe::{self, Observation, Operation, observed},
    store::{KeyFilter, LockFilter, Page, Store, StoreError},
    unavailable::Unavailable,
};

pub use self::{
    delivery::Delivery,
    error::ServiceError,
    request::{AcquireRequest, Limits},
};
use self::{
    readiness::Readiness,
    reply::{deleted, error_of, granted, lock, released, semaphore},
};

/// The service. Cheap to clone, shared by all handlers.
#[derive(Clone)]
pub struct LockService {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    limits: Limits,
    readiness: Readiness,
}

impl LockService {
    /// A service over an engine and the store that the engine writes to.
    pub fn new(engine: Arc<Engine>, store: Arc<dyn Store>, limits: Limits) -> Self {
        observe::register();
        audit::register();
        let readiness = Readiness::new(engine.clone(), store.clone());
        Self { engine, store, limits, readiness }
    }

    /// The limits in force.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether there is an audit log.
    pub fn is_audited(&self) -> bool {
        self.engine.audit().is_on()
    }

    /// Adds a record to the audit log, if there is one, for an event that does not concern a key.
    pub fn record<'a>(
        &self,
        event: AuditEvent,
        origin: Option<&'a Origin>,
        fill: impl FnOnce(&mut AuditRecord<'a>),
    ) {
        if self.is_audited() {
            let mut record = AuditRecord::new(self.engine.db_time(), event);
            fill(&mut record);
            let current = Origin::current();
            let origin = origin.or(current.as_deref());
            self.engine.audit().record(&AuditRecord { origin, ..record });
        }
    }

    /// Takes a lease, and waits for it if asked to. The grant must be passed on through the [`Delivery`]: if that is
    /// dropped before, the grant is given back.
    pub async fn acquire(&self, id: KeyId, request: AcquireRequest) -> Result<Delivery, ServiceError> {
        let kind = request.kind;
        self.check_guarded(request.guarded)?;
        let flags = RequestFlags { reentrant: request.reentrant, guarded: request.guarded };
        let request_guard = self.engine.attach(&id, request.version, flags);
        let acquire = Acquire {
            kind: request.kind,
            owner: request.owner,
            lease_ms: request.lease_ms.or_else(|| self.shorter_default(request.kind)),
            wait_ms: request.wait_ms,
            additional_wait_ms: request.additional_wait_ms,
            max_wait_ms: self.limits.max_wait_ms,
            data: request.data,
            replace_data: request.replace_data,
            delete_on_release: request.delete_on_release,
            only_if_exists: request.only_if_exists,
            version: request_guard.version(),
            chosen: request.version.is_some(),
            retried: false,
            request_id: request_guard.request_id(),
        };
        let observation = Observation::begin(Operation::Acquire);
        let result = match request_guard.acquire(acquire).await {
            Ok((Reply::Granted(view), request_guard)) => Ok(Delivery { view, request_guard }),
            Ok((Reply::Refused(Refusal::VersionMismatch), _)) if request.version.is_none() => {
                Err(ServiceError::Unavailable(Unavailable::LeaseOver))
            }
            Ok((other, _)) => Err(error_of(kind, other)),
            Err(error) => Err(error.into()),
        };
        observation.end(&result);
        result
    }

    /// Refuses to guard a lock if the database cannot do its part.
    fn check_guarded(&self, guarded: bool) -> Result<(), ServiceError> {
        if !guarded {
            return Ok(());
        }
        self.store.guard_refusal().map_or(Ok(()), |why| Err(ServiceError::NotGuarded(why)))
    }

    /// The lease of a lock for which no lease is asked, if the configured maximum is below the default.
    fn shorter_default(&self, kind: Kind) -> Option<i64> {
        let max_lease_ms = self.limits.max_lease_ms;
        (kind == Kind::Mutex && max_lease_ms < DEFAULT_LEASE_MS).then_some(max_lease_ms)
    }

    /// Renews a lease.
    pub async fn heartbeat(
        &self,
        id: KeyId,
        kind: Kind,
        version: Version,
        lease_ms: Option<i64>,
        data: DataEdit,
    ) -> Result<LockView, ServiceError> {
        let request_id = self.engine.request_id();
        let heartbeat = Heartbeat { kind, version, lease_ms, data, request_id };
        self.run(Operation::Heartbeat, kind, id, Command::Heartbeat(heartbeat), granted).await
    }

    /// Ends a lease.
    pub async fn release(&self, id: KeyId, release: Release) -> Result<LockView, ServiceError> {
        self.run(Operation::Release, release.kind, id, Command::Release(release), released).await
    }

    /// Ends a lease by force.
    pub async fn force_release(&self, id: KeyId, forced: ForcedRelease) -> Result<LockView, ServiceError> {
        self.run(Operation::Release, forced.kind, id, Command::ForceRelease(forced), released).await
    }

    /// Reads a lock.
    pub async fn get_lock(&self, id: KeyId) -> Result<LockView, ServiceError> {
        let (view, _) = self.run(Operation::Get, Kind::Mutex, id, Command::Get(Kind::Mutex), lock).await?;
        Ok(view)
    }

    /// Creates a lock, or replaces the data of a free one. The second value says whether it was created.
    pub async fn put_lock(
        &self,
        id: KeyId,
        data: Option<Data>,
        guarded: Option<bool>,
    ) -> Result<(LockView, bool), ServiceError> {
        self.check_guarded(guarded == Some(true))?;
        self.run(Operation::Put, Kind::Mutex, id, Command::PutLock { data, guarded }, lock).await
    }

    /// Deletes a lock; a held one only with the version of its grant.
    pub async fn delete_lock(&self, id: KeyId, version: Option<Version>) -> Result<(), ServiceError> {
        self.run(Operation::Delete, Kind::Mutex, id, Command::DeleteLock { version }, deleted).await
    }

    /// Creates or resizes a semaphore. The second value says whether it was created.
    pub async fn put_semaphore(
        &self,
        id: KeyId,
        max_size: i32,
        lease_ms: Option<i64>,
        guarded: Option<bool>,
    ) -> Result<(SemaphoreView, bool), ServiceError> {
        self.check_guarded(guarded == Some(true))?;
        let default_lease_ms = DEFAULT_LEASE_MS.min(self.limits.max_lease_ms);
        let command = Command::PutSemaphore { max_size, lease_ms, default_lease_ms, guarded };
        self.run(Operation::Put, Kind::Semaphore, id, command, semaphore).await
    }

    /// Reads a semaphore.
    pub async fn get_semaphore(&self, id: KeyId) -> Result<SemaphoreView, ServiceError> {
        let command = Command::Get(Kind::Semaphore);
        let (view, _) = self.run(Operation::Get, Kind::Semaphore, id, command, semaphore).await?;
        Ok(view)
    }

    /// Deletes a semaphore that has no active permits.
    pub async fn delete_semaphore(&self, id: KeyId) -> Result<(), ServiceError> {
        self.run(Operation::Delete, Kind::Semaphore, id, Command::DeleteSemaphore, deleted).await
    }

    /// Carries out a command on a key. `expected` takes the result out of the reply.
    async fn run<T>(
        &self,
        operation: Operation,
        kind: Kind,
        id: KeyId,
        command: Command,
        expected: impl FnOnce(Kind, Reply) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let observation = Observation::begin(operation);
        let reply = self.engine.execute(id, command).await;
        let result = reply.map_err(ServiceError::from).and_then(|reply| expected(kind, reply));
        observation.end(&result);
        result
    }

    /// One page of a tenant's locks in byte order of their keys, after the key `after`. Its `next` is `after` for the
    /// next page.
    pub async fn list_locks(
        &self,
        tenant: Tenant,
        filter: LockFilter,
        after: Option<Key>,
        limit: u32,
    ) -> Result<Page<LockView, Key>, ServiceError> {
        observed(Operation::List, async {
            let page = self.store.clone().list_locks(tenant, filter, after, limit).await;
            page.map_err(|error| self.unavailable(&error))
        })
        .await
    }

    /// One page of a tenant's semaphores, in byte order of their keys, after the key `after`.
    pub async fn list_semaphores(
        &self,
        tenant: Tenant,
        filter: KeyFilter,
        after: Option<Key>,
        limit: u32,
    ) -> Result<Page<SemaphoreView, Key>, ServiceError> {
        observed(Operation::List, async {
            let page = self.store.clone().list_semaphores(tenant, filter, after, limit).await;
            page.map_err(|error| self.unavailable(&error))
        })
        .await
    }

    /// One page of a semaphore's active permits in the order of their slots, after the slot `after`.
    pub async fn list_permits(
        &self,
        id: KeyId,
        after: Option<i32>,
        limit: u32,
    ) -> Result<Page<LockView, i32>, ServiceError> {
        let work = async {
            let reply = self.engine.execute(id.clone(), Command::Get(Kind::Semaphore)).await?;
            let (view, _) = semaphore(Kind::Semaphore, reply)?;
            let page = self.store.clone().list_permits(id, after, limit).await;
            let mut page = page.map_err(|error| self.unavailable(&error))?;
            page.items.iter_mut().for_each(|permit| permit.guarded = view.guarded);
            Ok(page)
        };
        observed(Operation::List, work).await
    }

    /// Checks that the service can do its work: the database answers, its schema is current, and nobody asked the
    /// service to stop.
    pub async fn ready(&self) -> Result<(), ServiceError> {
        if self.engine.is_draining() {
            return Err(ServiceError::Unavailable(Unavailable::ShuttingDown));
        }
        Ok(self.readiness.check().await?)
    }

    /// The answer to a caller for an error of the database. The log has the cause, once a second.
    fn unavailable(&self, error: &StoreError) -> ServiceError {
        self.engine.report_outage(error);
        ServiceError::Unavailable(error.into())
    }
}
