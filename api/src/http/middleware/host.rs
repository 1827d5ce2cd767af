//! Host names: in `Host`, in `Origin`, and in the configuration.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// The host names that requests may use, in addition to those of the loopback interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<(String, Option<u16>)>);

/// A name that cannot stand in a `Host` header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host: write a name or an address, with or without a port, as in `locks.example.com`")]
pub struct InvalidHost(String);

impl FromStr for AllowedHosts {
    type Err = InvalidHost;

    /// Reads names with or without a port, separated by commas. A name without a port allows all ports.
    fn from_str(names: &str) -> Result<Self, InvalidHost> {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let hosts = names.map(|name| {
            let host = Host::parse(name).ok_or_else(|| InvalidHost(name.to_owned()))?;
            Ok((host.name.to_ascii_lowercase(), host.port))
        });
        hosts.collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedHosts {
    pub(super) fn contains(&self, host: Host<'_>) -> bool {
        self.0.iter().any(|(name, port)| {
            name.eq_ignore_ascii_case(host.name) && port.is_none_or(|port| host.port == Some(port))
        })
    }
}

/// A host as in `Host` and `Origin`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    /// With brackets for an IPv6 address.
    name: &'a str,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let name_end =
            if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (name, rest) = text.split_at(name_end);
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            // RFC 3986 allows a colon without a port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            None | Some(_) => return None,
        };
        is_name(name).then_some(Self { name, port })
    }

    pub(super) fn is_loopback(self) -> bool {
        let name = self.name.strip_suffix('.').unwrap_or(self.name);
        let local = b"localhost";
        let bytes = name.as_bytes();
        if let Some(start) = bytes.len().checked_sub(local.len())
            && bytes[start..].eq_ignore_ascii_case(local)
        {
            return start == 0 || bytes[start - 1] == b'.';
        }
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Whether a text is a host name: RFC 3986's `reg-name`, or an IPv6 address in brackets.
fn is_name(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    !name.is_empty() && name.bytes().all(is_usual)
}

/// The origin of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    default_port: u16,
    pub(super) host: Host<'a>,
}

impl<'a> Origin<'a> {
    /// Reads an `Origin`. `None` for `null`, and for values that no browser sends to this service.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (default_port, rest) = match text.split_once("://")? {
            ("http", rest) => (80, rest),
            ("https", rest) => (443, rest),
            _ => return None,
        };
        Host::parse(rest).map(|host| Self { default_port, host })
    }

    /// Whether the page came from this host. The scheme is not compared, since a proxy may have removed TLS.
    pub(super) fn is_of(self, host: Host<'_>) -> bool {
        let port = |host: Host<'_>| host.port.unwrap_or(self.default_port);
        self.host.name.eq_ignore_ascii_case(host.name) && port(self.host) == port(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_hosts_are_names() {
        assert_eq!(" ".parse(), Ok(AllowedHosts::default()));
        assert_eq!("a, http://b".parse::<AllowedHosts>(), Err(InvalidHost("http://b".to_owned())));
    }
}
