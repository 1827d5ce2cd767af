//! The kinds of problems: one table, from which the answers, their documentation and `/problems/{name}` are made.

/// Which members a problem has on top of the four common ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtraMembers {
    /// None.
    None,
    /// `errors`.
    Errors,
    /// `holders`.
    Holders,
    /// `revoked_at`, `revoked_by`, `reason`.
    Revoked,
    /// `reason`, `holders`, `waiters`, and `queue_position` where there was one.
    NotGranted,
    /// `session`, where it can be told.
    Session,
}

/// What is fixed for a kind of problem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// The last segment of its URI.
    pub(crate) name: &'static str,
    /// Its relative URI.
    pub(crate) uri: &'static str,
    /// Its status code.
    pub(crate) status: u16,
    /// Its title: the same for each occurrence.
    pub(crate) title: &'static str,
    /// The name of its schema.
    pub(crate) schema: &'static str,
    /// The members that it has on top.
    pub(crate) extra: ExtraMembers,
    /// When it happens, in one sentence.
    pub(crate) when: &'static str,
    /// What to do about it.
    pub(crate) advice: &'static str,
}

impl ProblemKind {
    /// The kind of this name, as `/problems/{name}` is asked for it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.facts().name == name)
    }
}

/// Makes the enum of the kinds and their facts from one row a kind: name, status, title, further members; when the problem
/// happens; what to do about it.
macro_rules! problem_kinds {
    ($($kind:ident: $name:literal, $status:literal, $title:literal, $extra:ident,
        $when:literal,
        $advice:literal;
    )*) => {
        /// What an answer other than a success says, by the last segment of its `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ProblemKind {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        impl ProblemKind {
            /// All kinds.
            pub(crate) const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// What is fixed for this kind.
            pub(crate) const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$kind => &Facts {
                        name: $name,
                        uri: concat!("/problems/", $name),
                        status: $status,
                        title: $title,
                        schema: concat!(stringify!($kind), "Problem"),
                        extra: ExtraMembers::$extra,
                        when: $when,
                        advice: $advice,
                    },)*
                }
            }
        }
    };
}

problem_kinds! {
    InvalidRequest: "invalid-request", 400, "Invalid request", Errors,
        "The body is malformed, or a field, query parameter, header or the key is unknown or out of range.",
        "`errors` names each field that is wrong, and the reason. Correct the request; sent again as it is, it fails again.";
    Unauthorized: "unauthorized", 401, "Unauthorized", None,
        "Authentication is on, and the credential is missing, unknown, expired or revoked.",
        "Send `Authorization: Bearer` and a token that counts. `db-locks token create` or POST /tokens makes one.";
    Forbidden: "forbidden", 403, "Forbidden", None,
        "The role, tenant or key patterns of the credential do not allow it, or the request comes from a page of another \
         site, as its Origin or Sec-Fetch-Site says.",
        "`detail` says which. Use another credential; or call the service from a page under its own host, or from a program \
         that is no browser. A proxy must pass Host on, or its own name must be listed in DB_LOCKS_ALLOWED_HOSTS.";
    NotFound: "not-found", 404, "Not found", None,
        "The tenant has no lock, or no semaphore, of that key; or there is no such token.",
        "Look at the key and the X-Tenant header. A lock is created by its first acquire, a semaphore by PUT.";
    RouteNotFound: "route-not-found", 404, "No such route", None,
        "The service has no such path.",
        "`/swagger-ui/` lists the routes. A `/` within a key is written `%2F`, a key is never empty, and no path but \
         `/swagger-ui/` ends in a slash.";
    MethodNotAllowed: "method-not-allowed", 405, "Method not allowed", None,
        "The path is known, but not with this method.",
        "The header Allow names the methods that it has.";
    RequestTimeout: "request-timeout", 408, "Request timeout", None,
        "The body did not arrive within 30 seconds.",
        "Nothing was carried out. Send the request again, on another connection.";
    PayloadTooLarge: "payload-too-large", 413, "Payload too large", None,
        "The body has more than 256 KiB.",
        "A lock stores up to 32 KiB of data. Keep more than that elsewhere, and its address in the lock.";
    UnsupportedMediaType: "unsupported-media-type", 415, "Unsupported media type", None,
        "The request has a body that is not declared as `application/json`.",
        "Send `Content-Type: application/json`: `curl --json '{…}'`, or with curl before 7.82 \
         `curl -H 'content-type: application/json' -d '{…}'`.";
    MisdirectedRequest: "misdirected-request", 421, "Misdirected request", None,
        "The service listens on loopback, and the Host is neither a loopback name nor listed in DB_LOCKS_ALLOWED_HOSTS.",
        "Call it as `localhost` or `127.0.0.1`, or list the name in DB_LOCKS_ALLOWED_HOSTS.";
    VersionMismatch: "version-mismatch", 409, "Version mismatch", None,
        "The version is not the one of the current grant.",
        "The grant of this version has ended for good, or never was. Stop the work that it guarded, and acquire anew \
         with another version.";
    LeaseExpired: "lease-expired", 409, "Lease expired", None,
        "The version is the current one, but its lease had ended when the heartbeat came.",
        "Others may have been let in by now. Stop the work that it guarded, and acquire anew. Send heartbeats every \
         third of the lease.";
    Revoked: "revoked", 409, "Revoked", Revoked,
        "An operator ended the grant of this version by force.",
        "Others may have been let in by now. Stop the work that it guarded. `reason` is what the operator gave as the \
         reason; acquire anew if it allows that.";
    InUse: "in-use", 409, "In use", Holders,
        "The lock is held, or permits of the semaphore are out.",
        "`holders` tells who has it, and until when: those whose leases end first, ten at most. Try again when it is free.";
    WrongKind: "wrong-kind", 409, "Wrong kind", None,
        "The key is a semaphore and was used as a lock, or the reverse.",
        "A key is one of the two. Use the other's paths, or another key.";
    GuardedTransactionOpen: "guarded-transaction-open", 409, "Guarded transaction open", Session,
        "A transaction that called db_locks_guard for the grant is still open.",
        "The grant is over all the same: the guard refuses it from now on, and the service finishes what was asked for when \
         the transaction has ended. Commit or roll back, and ask again. `session` is the database's id of the session, where \
         it can be told.";
    Superseded: "superseded", 409, "Superseded", None,
        "A repeat with the same version took over this request's place in the queue.",
        "Nothing is lost: the repeat waits on, and is answered in its place.";
    NotGranted: "not-granted", 423, "Not granted", NotGranted,
        "Others held it for the whole time that the request wanted to wait.",
        "The request left the queue. Retry-After tells in seconds when the first of those who hold it is due; with a \
         longer `wait_ms` the service waits for you.";
    TooManyRequests: "too-many-requests", 429, "Too many requests", None,
        "The credential sends more requests than DB_LOCKS_MAX_REQUESTS_PER_SECOND allows; there is no limit unless it is set.",
        "Nothing was carried out. Try again after Retry-After seconds. Heartbeats and releases are never answered so.";
    InternalError: "internal-error", 500, "Internal error", None,
        "The service failed in a way that it should not.",
        "The answer's X-Request-Id finds the cause in the service's log. An acquire may be sent again with the same \
         `version`.";
    Unavailable: "unavailable", 503, "Unavailable", None,
        "The database is out of reach, read-only or full, a limit is reached, or the service is overloaded or shutting \
         down; `detail` says which.",
        "Try again after Retry-After seconds, an acquire with the same `version`: whether it was carried out is not \
         certain.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in ProblemKind::ALL {
            assert_eq!(ProblemKind::named(kind.facts().name), Some(kind));
        }
        assert_eq!(ProblemKind::named("nonsense"), None);
    }
}
