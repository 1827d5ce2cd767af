//! Protection against requests from web pages of other sites.
//!
//! A page of another site can make a browser call this service with the rights of its user. Browsers send the origin of such a
//! request (`Origin`, `Sec-Fetch-Site`), and such requests are refused. If an attacker's name points to this machine (DNS
//! rebinding), the browser takes the page for one of this service, and only the name in `Host` differs. So unknown names are
//! refused on loopback, where requests need no credential.

use axum::http::{HeaderMap, HeaderName, Method, Uri, Version, header};

use super::host::{AllowedHosts, Host, Origin};
use crate::problem::{Problem, ProblemKind};

pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The reason why a request is refused because of its origin or target, in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SiteRefusal {
    /// The `Host` is unknown.
    Misdirected,
    /// The request comes from a page of another site.
    CrossOrigin,
    /// `Host` is missing, repeated or invalid.
    InvalidHost(&'static str),
}

impl From<SiteRefusal> for Problem {
    fn from(site_refusal: SiteRefusal) -> Self {
        match site_refusal {
            SiteRefusal::Misdirected => Self::new(
                ProblemKind::MisdirectedRequest,
                "The service does not answer to this Host; DB_LOCKS_ALLOWED_HOSTS lists further names of it.",
            ),
            SiteRefusal::CrossOrigin => Self::new(
                ProblemKind::Forbidden,
                "The request comes from a page of another site, as its Origin or Sec-Fetch-Site says.",
            ),
            SiteRefusal::InvalidHost(reason) => Self::invalid_field("Host", reason),
        }
    }
}

/// The parts of a request that show its origin and target.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestSite<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
    /// Whether `Host` must be known: the request came to a loopback address, where requests need no credential.
    pub(super) checks_host: bool,
}

impl RequestSite<'_> {
    /// Whether the request may be answered.
    pub(super) fn check(self, allowed: &AllowedHosts) -> Result<(), SiteRefusal> {
        let host = self.host();
        if let (true, Ok(Some(host))) = (self.checks_host, host)
            && !host.is_loopback()
            && !allowed.contains(host)
        {
            return Err(SiteRefusal::Misdirected);
        }
        self.check_origin(host.ok().flatten(), allowed)?;
        host.map(drop).map_err(SiteRefusal::InvalidHost)
    }

    /// The target host; `None` if the request need not name one.
    fn host(&self) -> Result<Option<Host<'_>>, &'static str> {
        let mut values = self.headers.get_all(header::HOST).iter();
        let first = values.next();
        if values.next().is_some() {
            return Err("is given more than once");
        }
        let named = match first {
            Some(value) => {
                let host = value.to_str().ok().and_then(Host::parse);
                Some(host.ok_or("is not a name or an address with or without a port")?)
            }
            None => None,
        };
        match (self.uri.authority(), named) {
            // The host in an absolute request target wins.
            (Some(authority), _) => {
                Host::parse(authority.as_str()).map(Some).ok_or("of the target is no name")
            }
            (None, None) if self.version == Version::HTTP_11 => Err("is missing"),
            (None, named) => Ok(named),
        }
    }

    fn check_origin(&self, host: Option<Host<'_>>, allowed: &AllowedHosts) -> Result<(), SiteRefusal> {
        for origin in self.headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().ok().and_then(Origin::parse).ok_or(SiteRefusal::CrossOrigin)?;
            let is_own = host.is_some_and(|host| origin.is_of(host)) || allowed.contains(origin.host);
            if !is_own {
                return Err(SiteRefusal::CrossOrigin);
            }
        }
        for site in self.headers.get_all(SEC_FETCH_SITE) {
            if site != "same-origin" && site != "none" && !self.opens_a_page() {
                return Err(SiteRefusal::CrossOrigin);
            }
        }
        Ok(())
    }

    /// Whether a person follows a link to one of our pages, which changes nothing and shows the other site nothing.
    fn opens_a_page(&self) -> bool {
        let has = |name: HeaderName, value| self.headers.get(name).is_some_and(|given| given == value);
        let path = self.uri.path();
        let is_page = path == "/" || path.starts_with("/swagger-ui") || path.starts_with("/problems/");
        is_page
            && self.method.is_safe()
            && has(SEC_FETCH_MODE, "navigate")
            && has(SEC_FETCH_DEST, "document")
            && !self.headers.contains_key(header::ORIGIN)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
