//! The hosts of a server's URL. Of several hosts one at a time accepts writes.

use super::{UrlError, text::decode};

/// One server of a URL.
#[derive(Clone)]
pub(in super::super) struct Host {
    /// The URL that leads to this server alone, in the form for the driver. Never logged: it may hold a password.
    pub(in super::super) url: String,
    /// The host and its port, or a socket; empty for a file.
    pub(in super::super) name: String,
}

/// The servers of a URL, in its order: at least one.
#[derive(Clone)]
pub(in super::super) struct Hosts {
    first: Host,
    others: Vec<Host>,
}

impl Hosts {
    /// The list of an only server, or of a file.
    pub(super) const fn one(host: Host) -> Self {
        Self { first: host, others: Vec::new() }
    }

    /// The server that the URL names first.
    pub(in super::super) const fn first(&self) -> &Host {
        &self.first
    }

    /// Whether the URL names several servers.
    pub(in super::super) const fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &Host> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// All names, separated by commas.
    pub(super) fn names(&self) -> String {
        self.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Makes a server of each host.
    pub(super) fn try_map(
        hosts: Vec<UrlHost<'_>>,
        make: impl Fn(UrlHost<'_>) -> Result<Host, UrlError>,
    ) -> Result<Self, UrlError> {
        let mut hosts = hosts.into_iter().map(make);
        let first = hosts.next().ok_or(UrlError::Part(NO_HOST))??;
        Ok(Self { first, others: hosts.collect::<Result<_, _>>()? })
    }
}

/// The error for a URL without a host.
pub(super) const NO_HOST: &str =
    "names no host; it stands before the database, as in postgres://USER:PASSWORD@HOST/DATABASE";

/// A host of a URL.
pub(super) struct UrlHost<'u> {
    /// The host as it is written.
    pub(super) text: &'u str,
    /// The host with its port, if it has one, for the log. Empty if the URL leaves the host to a parameter.
    pub(super) name: String,
}

/// Reads the hosts of a URL. Several are separated by commas, each with a port of its own.
pub(super) fn read_hosts(hosts: &str, default_port: u16) -> Result<Vec<UrlHost<'_>>, UrlError> {
    const EMPTY: UrlError = UrlError::Part(
        "has a comma without a host beside it; several hosts are written HOST1:PORT1,HOST2:PORT2",
    );
    const TWICE: UrlError = UrlError::Part("names a host twice");
    let mut read: Vec<UrlHost<'_>> = Vec::new();
    for text in hosts.split(',') {
        if text.is_empty() && hosts.contains(',') {
            return Err(EMPTY);
        }
        let name = read_host(text, default_port)?;
        if read.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
            return Err(TWICE);
        }
        read.push(UrlHost { text, name });
    }
    Ok(read)
}

/// Reads a host. Returns its name with its port, if it has one.
fn read_host(host: &str, default_port: u16) -> Result<String, UrlError> {
    const PORT: UrlError = UrlError::Part("has a port that is not a number from 1 to 65535");
    const HOST: UrlError = UrlError::Part("has a host that is neither a name nor an address");
    const IPV6: UrlError =
        UrlError::Part("has an IPv6 address that is not in brackets; write [::1] or [::1]:5432");
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(HOST)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| HOST)?;
        match port.strip_prefix(':') {
            None if !port.is_empty() => return Err(HOST),
            port => (format!("[{address}]"), port),
        }
    } else {
        if host.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(IPV6);
        }
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        (name.to_owned(), port)
    };
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._%[:]".contains(&byte) || !byte.is_ascii();
    if !name.bytes().all(may_stand) {
        return Err(HOST);
    }
    match port {
        None if name.is_empty() || name.starts_with("%2") => Ok(decode(&name)),
        None => Ok(decode(&format!("{name}:{default_port}"))),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(decode(&format!("{name}:{port}"))),
            Ok(_) | Err(_) => Err(PORT),
        },
    }
}
