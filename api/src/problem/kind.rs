//! The kinds of problems: one table, from which the answers, their documentation and `/problems/{name}` are made.

/// What an answer other than a success says, by the last segment of its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// The request cannot be understood, or asks for what cannot be.
    InvalidRequest,
    /// The caller may not do this.
    Forbidden,
    /// No such lock or semaphore.
    NotFound,
    /// No such route.
    RouteNotFound,
    /// The route has no such method.
    MethodNotAllowed,
    /// The body did not come in time.
    RequestTimeout,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The request is meant for another host.
    MisdirectedRequest,
    /// The version is not the current one.
    VersionMismatch,
    /// The version is the current one, but its lease has ended.
    LeaseExpired,
    /// Held, or permits are out.
    InUse,
    /// A lock used as a semaphore, or the reverse.
    WrongKind,
    /// A repeat took over the place in the queue.
    Superseded,
    /// Held by others for the whole wait.
    NotGranted,
    /// The service itself is in error.
    InternalError,
    /// The service cannot do it now.
    Unavailable,
}

/// Which members a problem has on top of the four common ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtraMembers {
    /// None.
    None,
    /// `errors`.
    Errors,
    /// `holders`.
    Holders,
    /// `reason`, `holders`, `waiters`, and `queue_position` where there was one.
    NotGranted,
}

/// What is fixed for a kind of problem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
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
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::InvalidRequest,
        Self::Forbidden,
        Self::NotFound,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
        Self::VersionMismatch,
        Self::LeaseExpired,
        Self::InUse,
        Self::WrongKind,
        Self::Superseded,
        Self::NotGranted,
        Self::InternalError,
        Self::Unavailable,
    ];

    /// The kind of this name, as `/problems/{name}` is asked for it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The last segment of its URI.
    pub(crate) fn name(self) -> &'static str {
        let uri = self.facts().uri;
        uri.rsplit_once('/').map_or(uri, |(_, name)| name)
    }

    /// What is fixed for it.
    pub(crate) const fn facts(self) -> &'static Facts {
        match self {
            Self::InvalidRequest => &INVALID_REQUEST,
            Self::Forbidden => &FORBIDDEN,
            Self::NotFound => &NOT_FOUND,
            Self::RouteNotFound => &ROUTE_NOT_FOUND,
            Self::MethodNotAllowed => &METHOD_NOT_ALLOWED,
            Self::RequestTimeout => &REQUEST_TIMEOUT,
            Self::PayloadTooLarge => &PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => &UNSUPPORTED_MEDIA_TYPE,
            Self::MisdirectedRequest => &MISDIRECTED_REQUEST,
            Self::VersionMismatch => &VERSION_MISMATCH,
            Self::LeaseExpired => &LEASE_EXPIRED,
            Self::InUse => &IN_USE,
            Self::WrongKind => &WRONG_KIND,
            Self::Superseded => &SUPERSEDED,
            Self::NotGranted => &NOT_GRANTED,
            Self::InternalError => &INTERNAL_ERROR,
            Self::Unavailable => &UNAVAILABLE,
        }
    }
}

const INVALID_REQUEST: Facts = Facts {
    uri: "/problems/invalid-request",
    status: 400,
    title: "Invalid request",
    schema: "InvalidRequestProblem",
    extra: ExtraMembers::Errors,
    when: "The body is malformed, or a field, query parameter, header or the key is unknown or out of range.",
    advice: "`errors` names each field that is wrong, and the reason. Correct the request; sent again as it is, it fails again.",
};

const FORBIDDEN: Facts = Facts {
    uri: "/problems/forbidden",
    status: 403,
    title: "Forbidden",
    schema: "ForbiddenProblem",
    extra: ExtraMembers::None,
    when: "The request comes from a page of another site: its Origin or Sec-Fetch-Site says so.",
    advice: "Call the service from a page under its own host, or from a program that is no browser. A proxy must pass Host on, \
             or its own name must be listed in DB_LOCKS_ALLOWED_HOSTS.",
};

const NOT_FOUND: Facts = Facts {
    uri: "/problems/not-found",
    status: 404,
    title: "Not found",
    schema: "NotFoundProblem",
    extra: ExtraMembers::None,
    when: "The tenant has no lock, or no semaphore, of that key.",
    advice: "Look at the key and the X-Tenant header. A lock is created by its first acquire, a semaphore by PUT.",
};

const ROUTE_NOT_FOUND: Facts = Facts {
    uri: "/problems/route-not-found",
    status: 404,
    title: "No such route",
    schema: "RouteNotFoundProblem",
    extra: ExtraMembers::None,
    when: "The service has no such path.",
    advice: "`/swagger-ui/` lists the routes. A `/` within a key is written `%2F`, a key is never empty, and no path but \
             `/swagger-ui/` ends in a slash.",
};

const METHOD_NOT_ALLOWED: Facts = Facts {
    uri: "/problems/method-not-allowed",
    status: 405,
    title: "Method not allowed",
    schema: "MethodNotAllowedProblem",
    extra: ExtraMembers::None,
    when: "The path is known, but not with this method.",
    advice: "The header Allow names the methods that it has.",
};

const REQUEST_TIMEOUT: Facts = Facts {
    uri: "/problems/request-timeout",
    status: 408,
    title: "Request timeout",
    schema: "RequestTimeoutProblem",
    extra: ExtraMembers::None,
    when: "The body did not arrive within 30 seconds.",
    advice: "Nothing was carried out. Send the request again, on another connection.",
};

const PAYLOAD_TOO_LARGE: Facts = Facts {
    uri: "/problems/payload-too-large",
    status: 413,
    title: "Payload too large",
    schema: "PayloadTooLargeProblem",
    extra: ExtraMembers::None,
    when: "The body has more than 256 KiB.",
    advice: "A lock stores up to 32 KiB of data. Keep more than that elsewhere, and its address in the lock.",
};

const UNSUPPORTED_MEDIA_TYPE: Facts = Facts {
    uri: "/problems/unsupported-media-type",
    status: 415,
    title: "Unsupported media type",
    schema: "UnsupportedMediaTypeProblem",
    extra: ExtraMembers::None,
    when: "The request has a body that is not declared as `application/json`.",
    advice: "Send `Content-Type: application/json`: `curl --json '{…}'`, or with curl before 7.82 \
             `curl -H 'content-type: application/json' -d '{…}'`.",
};

const MISDIRECTED_REQUEST: Facts = Facts {
    uri: "/problems/misdirected-request",
    status: 421,
    title: "Misdirected request",
    schema: "MisdirectedRequestProblem",
    extra: ExtraMembers::None,
    when: "The service listens on loopback, and the Host is neither a loopback name nor listed in DB_LOCKS_ALLOWED_HOSTS.",
    advice: "Call it as `localhost` or `127.0.0.1`, or list the name in DB_LOCKS_ALLOWED_HOSTS.",
};

const VERSION_MISMATCH: Facts = Facts {
    uri: "/problems/version-mismatch",
    status: 409,
    title: "Version mismatch",
    schema: "VersionMismatchProblem",
    extra: ExtraMembers::None,
    when: "The version is not the one of the current grant.",
    advice: "The grant of this version has ended for good, or never was. Stop the work that it guarded, and acquire anew \
             with another version.",
};

const LEASE_EXPIRED: Facts = Facts {
    uri: "/problems/lease-expired",
    status: 409,
    title: "Lease expired",
    schema: "LeaseExpiredProblem",
    extra: ExtraMembers::None,
    when: "The version is the current one, but its lease had ended when the heartbeat came.",
    advice: "Others may have been let in by now. Stop the work that it guarded, and acquire anew. Send heartbeats every \
             third of the lease.",
};

const IN_USE: Facts = Facts {
    uri: "/problems/in-use",
    status: 409,
    title: "In use",
    schema: "InUseProblem",
    extra: ExtraMembers::Holders,
    when: "The lock is held, or permits of the semaphore are out.",
    advice: "`holders` tells who has it, and until when: those whose leases end first, ten at most. Try again when it is free.",
};

const WRONG_KIND: Facts = Facts {
    uri: "/problems/wrong-kind",
    status: 409,
    title: "Wrong kind",
    schema: "WrongKindProblem",
    extra: ExtraMembers::None,
    when: "The key is a semaphore and was used as a lock, or the reverse.",
    advice: "A key is one of the two. Use the other's paths, or another key.",
};

const SUPERSEDED: Facts = Facts {
    uri: "/problems/superseded",
    status: 409,
    title: "Superseded",
    schema: "SupersededProblem",
    extra: ExtraMembers::None,
    when: "A repeat with the same version took over this request's place in the queue.",
    advice: "Nothing is lost: the repeat waits on, and is answered in its place.",
};

const NOT_GRANTED: Facts = Facts {
    uri: "/problems/not-granted",
    status: 423,
    title: "Not granted",
    schema: "NotGrantedProblem",
    extra: ExtraMembers::NotGranted,
    when: "Others held it for the whole time that the request wanted to wait.",
    advice: "The request left the queue. Retry-After tells in seconds when the first of those who hold it is due; with a \
             longer `wait_ms` the service waits for you.",
};

const INTERNAL_ERROR: Facts = Facts {
    uri: "/problems/internal-error",
    status: 500,
    title: "Internal error",
    schema: "InternalErrorProblem",
    extra: ExtraMembers::None,
    when: "The service failed in a way that it should not.",
    advice: "The answer's X-Request-Id finds the cause in the service's log. An acquire may be sent again with the same \
             `version`.",
};

const UNAVAILABLE: Facts = Facts {
    uri: "/problems/unavailable",
    status: 503,
    title: "Unavailable",
    schema: "UnavailableProblem",
    extra: ExtraMembers::None,
    when: "The database is out of reach, read-only or full, a limit is reached, or the service is overloaded or shutting \
           down; `detail` says which.",
    advice: "Try again after Retry-After seconds, an acquire with the same `version`: whether it was carried out is not \
             certain.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in ProblemKind::ALL {
            assert_eq!(ProblemKind::named(kind.name()), Some(kind));
            assert_eq!(kind.facts().uri, format!("/problems/{}", kind.name()));
        }
        assert_eq!(ProblemKind::named("nonsense"), None);
    }
}
