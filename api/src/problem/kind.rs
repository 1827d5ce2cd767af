//! The kinds of problems. The answers, their documentation and `/problems/{name}` are made from one table.

/// The members of a problem beside the four common ones.
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
    /// `reason`, `holders`, `waiters`, and `queue_position` if there was one.
    NotGranted,
    /// `session`, if it is known.
    Session,
}

/// The fixed properties of a kind of problem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KindProperties {
    /// The last segment of the problem's URI.
    pub(crate) name: &'static str,
    /// The relative URI.
    pub(crate) uri: &'static str,
    /// The status code.
    pub(crate) status: u16,
    /// The title, the same for each occurrence.
    pub(crate) title: &'static str,
    /// The name of the schema.
    pub(crate) schema: &'static str,
    /// The members beside the four common ones.
    pub(crate) extra: ExtraMembers,
    /// When the problem occurs, in one sentence.
    pub(crate) when: &'static str,
    /// What the caller can do.
    pub(crate) advice: &'static str,
}

impl ProblemKind {
    /// The kind with this name, as in `/problems/{name}`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.properties().name == name)
    }
}

/// Makes the enum of the kinds and their properties. Each kind has one row: name, status, title, further members; when the
/// problem occurs; what the caller can do.
macro_rules! problem_kinds {
    ($($kind:ident: $name:literal, $status:literal, $title:literal, $extra:ident,
        $when:literal,
        $advice:literal;
    )*) => {
        /// The kind of a problem, by the last segment of its `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ProblemKind {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        impl ProblemKind {
            /// All kinds.
            pub(crate) const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// The fixed properties of this kind.
            pub(crate) const fn properties(self) -> &'static KindProperties {
                match self {
                    $(Self::$kind => &KindProperties {
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
        "`errors` names each wrong field and the reason. Correct the request before you send it again.";
    Unauthorized: "unauthorized", 401, "Unauthorized", None,
        "Authentication is on, and the credential is missing, unknown, expired or revoked.",
        "Send `Authorization: Bearer` with a valid token. `db-locks token create` or POST /tokens creates one.";
    Forbidden: "forbidden", 403, "Forbidden", None,
        "The role, tenant or key patterns of the credential do not allow the request, or its Origin or Sec-Fetch-Site \
         header says that it comes from a page of another site.",
        "`detail` says which. Use another credential, call the service from a page under its own host, or call it from a \
         program that is not a browser. A proxy must pass on the Host header. Otherwise list the name of the proxy in \
         DB_LOCKS_ALLOWED_HOSTS.";
    NotFound: "not-found", 404, "Not found", None,
        "The tenant has no lock or semaphore with this key, or the token does not exist.",
        "Check the key and the X-Tenant header. The first acquire creates a lock; PUT creates a semaphore.";
    RouteNotFound: "route-not-found", 404, "No such route", None,
        "The service has no such path.",
        "`/swagger-ui/` lists the routes. Write a `/` within a key as `%2F`. A key is never empty, and only the path \
         `/swagger-ui/` ends in a slash.";
    MethodNotAllowed: "method-not-allowed", 405, "Method not allowed", None,
        "The path exists, but does not support this method.",
        "The header Allow lists the methods that the path supports.";
    RequestTimeout: "request-timeout", 408, "Request timeout", None,
        "The body did not arrive within 30 seconds.",
        "The request was not carried out. Send it again, on a new connection.";
    PayloadTooLarge: "payload-too-large", 413, "Payload too large", None,
        "The body is larger than 256 KiB.",
        "A lock stores up to 32 KiB of data. Keep larger data elsewhere, and store its address in the lock.";
    UnsupportedMediaType: "unsupported-media-type", 415, "Unsupported media type", None,
        "The request has a body that is not declared as `application/json`.",
        "Send `Content-Type: application/json`: `curl --json '{…}'`, or with curl before 7.82 \
         `curl -H 'content-type: application/json' -d '{…}'`.";
    MisdirectedRequest: "misdirected-request", 421, "Misdirected request", None,
        "The service listens on a loopback address, and the Host header names neither a loopback address nor a name from \
         DB_LOCKS_ALLOWED_HOSTS. Or the connection has a client certificate, and the trusted authorities of client certificates \
         changed after the connection began.",
        "Call the service as `localhost` or `127.0.0.1`, or add the name to DB_LOCKS_ALLOWED_HOSTS. With a client certificate, \
         send the request again on a new connection.";
    VersionMismatch: "version-mismatch", 409, "Version mismatch", None,
        "The version is not the version of the current grant.",
        "The grant with this version has ended for good, or never existed. Stop the work that the grant protected, and \
         acquire again with another version.";
    LeaseExpired: "lease-expired", 409, "Lease expired", None,
        "The version is current, but its lease had ended when the heartbeat arrived.",
        "Another caller may have the grant by now. Stop the work that the grant protected, and acquire again. Send a \
         heartbeat every third of the lease.";
    Revoked: "revoked", 409, "Revoked", Revoked,
        "An operator ended the grant with this version by force.",
        "Another caller may have the grant by now. Stop the work that the grant protected. Read the operator's `reason`, \
         and acquire again only if it allows that.";
    InUse: "in-use", 409, "In use", Holders,
        "The lock is held, or permits of the semaphore are held.",
        "`holders` names the holders whose leases end first, at most ten, with the end of each lease. Try again when \
         the key is free.";
    WrongKind: "wrong-kind", 409, "Wrong kind", None,
        "The key is a semaphore and was used as a lock, or the reverse.",
        "A key names either a lock or a semaphore. Use the paths of the other kind, or another key.";
    GuardedTransactionOpen: "guarded-transaction-open", 409, "Guarded transaction open", Session,
        "A transaction that called db_locks_guard for the grant is still open.",
        "The grant has ended nevertheless: the guard rejects it from now on. When the transaction ends, the service \
         completes a release by itself. Commit or roll back the transaction, and send the request again. `session` is the \
         database's id of the session, if it is known.";
    Superseded: "superseded", 409, "Superseded", None,
        "A later request with the same version took over this request's place in the queue.",
        "Nothing is lost: the later request keeps waiting and gets the answer.";
    NotGranted: "not-granted", 423, "Not granted", NotGranted,
        "Neither the lock nor a permit became free within the waiting time of the request.",
        "The request has left the queue. The first lease of the `holders` ends after Retry-After seconds. With a longer \
         `wait_ms` the service waits for you.";
    TooManyRequests: "too-many-requests", 429, "Too many requests", None,
        "The credential sends more requests than DB_LOCKS_MAX_REQUESTS_PER_SECOND allows; by default there is no limit.",
        "The request was not carried out. Try again after Retry-After seconds. Heartbeats and releases never get this answer.";
    InternalError: "internal-error", 500, "Internal error", None,
        "An unexpected error occurred in the service.",
        "Search the log of the service for the X-Request-Id of the answer to find the cause. An acquire may be sent again \
         with the same `version`.";
    Unavailable: "unavailable", 503, "Unavailable", None,
        "The database is out of reach, read-only or full, a limit is reached, or the service is overloaded or shutting \
         down; `detail` says which.",
        "Try again after Retry-After seconds. The request may have been carried out, so repeat an acquire with the same \
         `version`.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in ProblemKind::ALL {
            assert_eq!(ProblemKind::named(kind.properties().name), Some(kind));
        }
        assert_eq!(ProblemKind::named("nonsense"), None);
    }
}
