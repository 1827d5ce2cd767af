//! The log of grants at level debug: grants, releases and expiries, with tenant, key and owner. While this level is
//! off, nothing is collected for the log.

use tracing::{Level, debug, enabled};

use super::pending_request::PendingRequest;
use crate::domain::{Command, Effects, EndReason, Ended, KeyId, LockView, Refusal, Reply, Verdict};

/// The target of these lines. `DB_LOCKS_LOG=info,db_locks::grants=debug` shows them and no other lines at level debug.
const TARGET: &str = "db_locks::grants";

/// Whether these lines are logged.
pub(super) fn is_enabled() -> bool {
    enabled!(target: TARGET, Level::DEBUG)
}

/// Logs the grants that a durable change ended and made, in this order.
pub(super) fn log_change(id: &KeyId, requests: &[PendingRequest], verdicts: &[Verdict], effects: &Effects) {
    if !is_enabled() {
        return;
    }
    for ended in effects.ended.iter().flatten() {
        log_end(id, ended);
    }
    for (request, verdict) in requests.iter().zip(verdicts) {
        match (request.asked(), verdict) {
            (Command::Acquire(acquire), Verdict::Waiting { wait_ms }) => {
                let owner = acquire.owner.as_str();
                debug!(target: TARGET, tenant = id.tenant.as_str(), key = id.key.as_str(), owner, wait_ms, "waits");
            }
            (Command::Acquire(acquire), Verdict::Reply(Reply::Refused(Refusal::NotGranted(_)))) => {
                let owner = acquire.owner.as_str();
                debug!(target: TARGET, tenant = id.tenant.as_str(), key = id.key.as_str(), owner, "not granted");
            }
            (Command::Acquire(_), Verdict::Reply(Reply::Granted(view))) => log_grant(id, view, "granted"),
            (Command::Heartbeat(_), Verdict::Reply(Reply::Granted(view))) => log_grant(id, view, "renewed"),
            _ => {}
        }
    }
    for (_, reply) in &effects.answered {
        if let Reply::Granted(view) = reply {
            log_grant(id, view, "granted");
        }
    }
}

fn log_grant(id: &KeyId, view: &LockView, what: &'static str) {
    let Some(held) = &view.held else { return };
    debug!(
        target: TARGET,
        tenant = id.tenant.as_str(),
        key = id.key.as_str(),
        owner = held.owner.as_str(),
        version = %held.version.short(),
        fencing_token = view.fencing_token.0,
        lease_duration_ms = view.lease_ms,
        "{what}"
    );
}

fn log_end(id: &KeyId, ended: &Ended) {
    let what = match ended.how {
        EndReason::Released => "released",
        EndReason::Forced => "ended by force",
        EndReason::GivenBack => "given back: its answer reached nobody",
        EndReason::Expired => "expired",
        EndReason::Deleted => "deleted while it was held",
    };
    debug!(
        target: TARGET,
        tenant = id.tenant.as_str(),
        key = id.key.as_str(),
        owner = ended.owner.as_str(),
        version = %ended.version.short(),
        fencing_token = ended.token.0,
        "{what}"
    );
}
