//! The audit log's records of the HTTP edge: origins of requests, and failed authentications.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use db_locks_service::{
    LockService,
    audit::{AuditEvent, Origin},
};

use super::TrustedProxies;

/// The most failed authentications that are recorded per second. Guessing must not fill the disk.
const MOST_FAILURES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Writes the audit records of the HTTP edge.
pub(super) struct HttpAudit {
    service: LockService,
    proxies: TrustedProxies,
    failures: Mutex<Failures>,
}

/// The failed authentications since a moment.
struct Failures {
    since: Instant,
    count: u32,
}

impl HttpAudit {
    /// For a service with an audit log; `None` if the log is off.
    pub(super) fn new(service: &LockService, proxies: &TrustedProxies) -> Option<Self> {
        let failures = Mutex::new(Failures { since: Instant::now(), count: 0 });
        let audit = || Self { service: service.clone(), proxies: proxies.clone(), failures };
        service.is_audited().then(audit)
    }

    /// The origin of a request.
    pub(super) fn origin(&self, peer: IpAddr, headers: &HeaderMap, id: &HeaderValue) -> Arc<Origin> {
        let request_id = id.to_str().unwrap_or_default().into();
        Arc::new(Origin::new(self.proxies.client_of(peer, headers), request_id))
    }

    /// Records that a request had no credential, or none that is good.
    pub(super) fn authentication_failed(&self, origin: &Origin) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if failures.since.elapsed() >= PERIOD {
            left_out = failures.count.saturating_sub(MOST_FAILURES);
            *failures = Failures { since: Instant::now(), count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        let is_recorded = failures.count <= MOST_FAILURES;
        drop(failures);
        if is_recorded {
            let reason = (left_out > 0).then(|| format!("{left_out} more are not recorded"));
            self.service.record(AuditEvent::AuthenticationFailed, Some(origin), |record| {
                record.status = Some(StatusCode::UNAUTHORIZED.as_u16());
                record.reason = reason.as_deref();
            });
        }
    }
}

impl std::fmt::Debug for HttpAudit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpAudit").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}
