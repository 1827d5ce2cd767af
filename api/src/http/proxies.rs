//! Finds the client of a request behind proxies.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Trusted proxies: addresses, or networks such as `10.0.0.0/8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// A text that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no network; expected is a list such as 10.0.0.7,192.168.0.0/16")]
pub struct InvalidProxy(String);

impl FromStr for TrustedProxies {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let read = |entry: &str| {
            let network = entry.parse::<IpNet>().ok();
            let network = network.or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
            network.ok_or_else(|| InvalidProxy(entry.to_owned()))
        };
        text.split(',').map(|entry| read(entry.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    /// The client of a request that came from `peer`. Only the addresses that trusted proxies added are believed: the client may have
    /// written the rest of the header.
    pub(crate) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() {
            return client;
        }
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        // The client's part of a value may have bytes that are no text.
        let entries = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        for entry in entries {
            if !self.0.iter().any(|network| network.contains(&client)) {
                break;
            }
            let Some(before) = std::str::from_utf8(entry).ok().and_then(|entry| read_address(entry.trim()))
            else {
                break;
            };
            client = before.to_canonical();
        }
        client
    }
}

/// An address, with or without a port.
fn read_address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(trusted: &str, peer: &str, forwarded: &[&str]) -> String {
        let proxies = if trusted.is_empty() { TrustedProxies::default() } else { trusted.parse().unwrap() };
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies.client_of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_peer_is_the_client_unless_it_is_a_trusted_proxy() {
        assert_eq!(client("", "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "10.1.2.3", &[]), "10.1.2.3");
        assert_eq!(client("10.0.0.0/8", "::ffff:10.1.2.3", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        let trusted = "10.0.0.0/8, 192.0.2.7";
        assert_eq!(client(trusted, "10.0.0.1", &["1.1.1.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(trusted, "10.0.0.1", &["1.1.1.1", "203.0.113.9, 192.0.2.7"]), "203.0.113.9");
        assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(client(trusted, "10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client(trusted, "10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client(trusted, "10.0.0.1", &["\u{e9}, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(trusted, "10.0.0.1", &["203.0.113.9, 10.0.0.2, garbage"]), "10.0.0.1");
    }

    #[test]
    fn what_is_no_network_is_named() {
        for bad in ["", "10.0.0.0/33", "proxy.example", "10.0.0.1,,"] {
            assert!(bad.parse::<TrustedProxies>().is_err(), "{bad}");
        }
    }
}
