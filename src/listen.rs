//! The listeners: parses `DB_LOCKS_LISTEN`, and binds the sockets.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

/// The listen backlog, for thousands of clients that connect at once. A client that finds it full waits for a second.
const BACKLOG: u32 = 4_096;

/// One address of `DB_LOCKS_LISTEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// Every address of this machine, IPv4 and IPv6: `:8080`.
    Everywhere(u16),
    /// One address: `127.0.0.1:8080`, `[::1]:8080`, or a bare port on 127.0.0.1.
    Socket(SocketAddr),
    /// Every address of a name: `localhost:8080`.
    Name(String, u16),
}

/// The reason why a text is not an address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// The port is missing.
    #[error("the port is missing; write HOST:PORT, :PORT for every address, or a port alone for 127.0.0.1")]
    NoPort,
    /// The port is not a number from 0 to 65535.
    #[error("the port is not a number from 0 to 65535")]
    Port,
    /// An IPv6 address without brackets, which hides where the port begins.
    #[error("an IPv6 address is written in brackets, as in [::1]:8080")]
    Brackets,
    /// The host is neither an IP address nor a name.
    #[error("the host is neither an IP address nor a host name")]
    Host,
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::Socket(address));
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (host, port) = match text.rsplit_once(':') {
            Some(parts) if !text.ends_with(']') => parts,
            None if is_number => ("127.0.0.1", text),
            _ => return Err(AddressError::NoPort),
        };
        let port = port.parse().map_err(|_| AddressError::Port)?;
        if host.is_empty() {
            return Ok(Self::Everywhere(port));
        }
        if host.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::Brackets);
        }
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Socket((ip, port).into()));
        }
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if is_name { Ok(Self::Name(host.to_owned(), port)) } else { Err(AddressError::Host) }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, ":{port}"),
            Self::Socket(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl ListenAddress {
    /// The host and port by which a client on this machine reaches this address.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Everywhere(port) => format!("127.0.0.1:{port}"),
            Self::Socket(address) if !address.ip().is_unspecified() => address.to_string(),
            Self::Socket(SocketAddr::V4(address)) => format!("127.0.0.1:{}", address.port()),
            Self::Socket(SocketAddr::V6(address)) => format!("[::1]:{}", address.port()),
            Self::Name(name, port) => format!("{name}:{port}"),
        }
    }
}

/// The error of a socket that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (DB_LOCKS_LISTEN): {source}")]
pub(crate) struct ListenError {
    address: String,
    source: io::Error,
}

/// Sockets that are bound and do not accept connections yet.
///
/// So an address that is in use is reported before the database is touched, and no client connects before the service can
/// answer.
#[derive(Debug)]
pub(crate) struct Bound(Vec<(SocketAddr, TcpSocket)>);

/// Binds the addresses.
pub(crate) async fn bind(addresses: &[ListenAddress]) -> Result<Bound, ListenError> {
    let mut bound = Vec::new();
    for address in addresses {
        let failed = |source| ListenError { address: address.to_string(), source };
        let sockets = match address {
            ListenAddress::Everywhere(port) => bind_everywhere(*port).map(|socket| vec![socket]),
            ListenAddress::Socket(address) if is_taken(&bound, *address) => Ok(Vec::new()),
            ListenAddress::Socket(address) => bind_one(*address, true).map(|socket| vec![socket]),
            ListenAddress::Name(name, port) => bind_name(name, *port, &bound).await,
        };
        bound.extend(sockets.map_err(failed)?);
    }
    Ok(Bound(bound))
}

impl Bound {
    /// The bound addresses.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, _)| *address).collect()
    }

    /// Starts to accept connections.
    pub(crate) fn listen(self) -> Result<Vec<TcpListener>, ListenError> {
        let listen = |(address, socket): (SocketAddr, TcpSocket)| {
            let failed = |source| ListenError { address: address.to_string(), source };
            socket.listen(BACKLOG).map_err(failed)
        };
        self.0.into_iter().map(listen).collect()
    }
}

/// Whether an address is bound already. Port 0 is another port each time.
fn is_taken(bound: &[(SocketAddr, TcpSocket)], address: SocketAddr) -> bool {
    address.port() != 0 && bound.iter().any(|(taken, _)| *taken == address)
}

fn bind_one(address: SocketAddr, only_v6: bool) -> io::Result<(SocketAddr, TcpSocket)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if address.is_ipv6() {
        SockRef::from(&socket).set_only_v6(only_v6)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok((socket.local_addr()?, socket))
}

/// Binds one socket for IPv6 and IPv4, or for IPv4 alone if this machine has no IPv6.
fn bind_everywhere(port: u16) -> io::Result<(SocketAddr, TcpSocket)> {
    match bind_one((Ipv6Addr::UNSPECIFIED, port).into(), false) {
        Err(error) if is_missing(&error) => bind_one((Ipv4Addr::UNSPECIFIED, port).into(), true),
        bound => bound,
    }
}

/// Binds all addresses of a name that belong to this machine, at least one.
async fn bind_name(
    name: &str,
    port: u16,
    before: &[(SocketAddr, TcpSocket)],
) -> io::Result<Vec<(SocketAddr, TcpSocket)>> {
    let mut bound: Vec<(SocketAddr, TcpSocket)> = Vec::new();
    let mut missing = None;
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name, port)).await?.collect();
    for address in &addresses {
        if is_taken(before, *address) || is_taken(&bound, *address) {
            continue;
        }
        match bind_one(*address, true) {
            Ok(socket) => bound.push(socket),
            Err(error) if is_missing(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    let is_anywhere = !bound.is_empty() || addresses.iter().any(|address| is_taken(before, *address));
    match missing {
        Some(error) if !is_anywhere => Err(error),
        _ => Ok(bound),
    }
}

/// Whether this machine lacks the address or its address family.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// EAFNOSUPPORT, "address family not supported by protocol", for which [`io::ErrorKind`] has no variant.
const EAFNOSUPPORT: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests;
