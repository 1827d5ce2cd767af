//! Sets `TCP_NODELAY` on connections to a database server, which sqlx 0.9.0 forgets.
//!
//! Over TLS a statement of more than 16 KiB is several records, and each is written by itself. The kernel keeps the last
//! one back until the server has acknowledged those before, which takes the server's kernel 40 ms. sqlx sets the option
//! in its next version (sqlx issue 4335); then this file goes. Until then it is set here, on sockets that are found
//! among the files that this process has open, since sqlx shows none of its own.
//!
//! A descriptor that is known by its number is borrowed by sending it to ourselves over a Unix socket, which gives one of
//! our own. `pidfd_getfd` would do the same in one call, but Docker's default rules for system calls refuse it.

use std::{
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, UnixAddr, getpeername, sendmsg};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrAny, recvmsg, sockopt::set_tcp_nodelay,
};
use tracing::debug;

/// Sets the option on all TCP connections of this process to servers on this port. A failure costs time and nothing
/// else.
pub(super) async fn set_nodelay(port: u16) {
    // With many clients there are many open files.
    let done = tokio::task::spawn_blocking(move || set_on_connections_to(port)).await;
    match done.map_err(io::Error::other).flatten() {
        Ok(()) => {}
        Err(error) => debug!(%error, port, "TCP_NODELAY could not be set on the database's connections"),
    }
}

fn set_on_connections_to(port: u16) -> io::Result<()> {
    for file in fs::read_dir("/proc/self/fd")? {
        // Only such sockets are duplicated: to close a copy of SQLite's file would give up SQLite's locks on it.
        let number = file?.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|number| leads_to(*number, port)) else { continue };
        // It may have been closed meanwhile, and its number used again.
        let Some(socket) = duplicate(number)? else { continue };
        if rustix::net::getpeername(&socket)
            .is_ok_and(|peer| peer.is_some_and(|peer| port_of(peer) == Some(port)))
        {
            set_tcp_nodelay(&socket, true)?;
        }
    }
    Ok(())
}

/// Whether this descriptor is that of a TCP connection to this port.
fn leads_to(number: RawFd, port: u16) -> bool {
    let Ok(peer) = getpeername::<SockaddrStorage>(number) else { return false };
    let port_of_peer = (peer.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::port))
        .or_else(|| peer.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::port));
    port_of_peer == Some(port)
}

fn port_of(address: SocketAddrAny) -> Option<u16> {
    std::net::SocketAddr::try_from(address).ok().map(|address| address.port())
}

/// A descriptor of our own for the file with this number; `None` if there is no such file.
fn duplicate(number: RawFd) -> io::Result<Option<OwnedFd>> {
    let (from, to) = UnixStream::pair()?;
    let (byte, files) = ([io::IoSlice::new(&[0])], [number]);
    let message = [ControlMessage::ScmRights(&files)];
    match sendmsg::<UnixAddr>(from.as_raw_fd(), &byte, &message, MsgFlags::empty(), None) {
        Err(nix::Error::EBADF) => return Ok(None),
        sent => sent?,
    };
    let (mut byte, mut space) = ([0], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut received = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&to, &mut [io::IoSliceMut::new(&mut byte)], &mut received, RecvFlags::CMSG_CLOEXEC)?;
    Ok(received.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn the_connections_to_a_server_get_the_option_and_no_others() {
        let (server, other) = (listen().await, listen().await);
        let [address, elsewhere] = [&server, &other].map(|listener| listener.local_addr().unwrap());
        let [first, second] = [connect(address).await, connect(address).await];
        let third = connect(elsewhere).await;
        let accepted = server.accept().await.unwrap().0;
        set_nodelay(address.port()).await;
        assert!(first.nodelay().unwrap() && second.nodelay().unwrap());
        assert!(!third.nodelay().unwrap() && !accepted.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_socket_is_closed_when_its_owner_closes_it() {
        let server = listen().await;
        let address = server.local_addr().unwrap();
        let client = connect(address).await;
        let accepted = server.accept().await.unwrap().0;
        set_nodelay(address.port()).await;
        drop(client);
        accepted.readable().await.unwrap();
        assert_eq!(accepted.try_read(&mut [0]).unwrap(), 0, "a copy of the socket is still open");
    }

    async fn listen() -> TcpListener {
        let addresses = ["[::1]:0", "127.0.0.1:0"].map(|address| address.parse().unwrap());
        TcpListener::bind::<&[std::net::SocketAddr]>(&addresses).await.unwrap()
    }

    async fn connect(address: std::net::SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }
}
