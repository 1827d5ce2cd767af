//! The state that a client's connection shares with its requests.

mod by_source;
mod client_body;
mod in_flight;
mod newcomers;
mod party;
mod phase;
mod slots;
mod unconfirmed;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::http::HeaderValue;
use db_locks_service::access::Identity;
use tokio::sync::{Notify, watch};

pub use self::client_body::ClientBody;
pub(super) use self::in_flight::{InFlight, RequestCounts};
pub(crate) use self::unconfirmed::Unconfirmed;
pub(super) use self::{
    newcomers::Newcomers,
    party::{GROUPS, LastParty, Party},
    phase::Phase,
    slots::{Slot, Slots},
    unconfirmed::{UnbufferedGrant, UnconfirmedGrants},
};
use super::own_room::OwnRoom;
use crate::auth::ClientCertificate;

/// The state of a client's connection, shared by its socket and its requests.
pub(super) struct Connection {
    /// Whether the listener that accepted it has a loopback address.
    on_loopback: bool,
    /// The client's address.
    peer: IpAddr,
    phase: watch::Receiver<Phase>,
    /// The verified client certificate, if there is one.
    certificate: Option<Arc<ClientCertificate>>,
    /// The `Host` of the first accepted request. Later requests with the same `Host` need no check.
    accepted_host: OnceLock<HeaderValue>,
    requests: RequestCounts,
    unconfirmed: UnconfirmedGrants,
    own_room: OwnRoom,
    /// Whether a request's body was not read to its end.
    has_left_body: AtomicBool,
    /// The bytes of answers that the client has not read, and of requests over HTTP/2 that have not begun.
    unread: AtomicUsize,
    /// The bytes of requests over HTTP/2 that have begun and have no answer.
    waiting: AtomicUsize,
    /// The length of the longest head of a request over HTTP/2, in bytes on the wire.
    longest_head: AtomicUsize,
    /// Whether a request had a valid credential, or none is required.
    is_known: AtomicBool,
    /// Whose turns the connection takes.
    party: LastParty,
    /// Notified when the connection must end at once.
    cut_off: Notify,
}

impl Connection {
    /// The state of a new connection.
    pub(super) fn new(
        on_loopback: bool,
        (peer, party): (IpAddr, LastParty),
        phase: watch::Receiver<Phase>,
        certificate: Option<ClientCertificate>,
    ) -> Self {
        Self {
            on_loopback,
            peer,
            phase,
            certificate: certificate.map(Arc::new),
            accepted_host: OnceLock::new(),
            requests: RequestCounts::default(),
            unconfirmed: UnconfirmedGrants::default(),
            own_room: OwnRoom::of(peer),
            has_left_body: AtomicBool::new(false),
            unread: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            longest_head: AtomicUsize::new(0),
            is_known: AtomicBool::new(false),
            party,
            cut_off: Notify::const_new(),
        }
    }

    /// The client certificate.
    pub(super) const fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.certificate.as_ref()
    }

    /// Whether the listener that accepted it has a loopback address.
    pub(super) const fn is_on_loopback(&self) -> bool {
        self.on_loopback
    }

    /// The client's address.
    pub(super) const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The bytes of answers that the client has not read, and of requests over HTTP/2 that have not begun.
    pub(super) const fn unread(&self) -> &AtomicUsize {
        &self.unread
    }

    /// The bytes of requests over HTTP/2 that have begun and have no answer.
    pub(super) const fn waiting(&self) -> &AtomicUsize {
        &self.waiting
    }

    /// The length of the longest head of a request over HTTP/2, in bytes on the wire.
    pub(super) fn longest_head(&self) -> usize {
        self.longest_head.load(Ordering::Relaxed)
    }

    /// Notes the length of the longest head so far.
    pub(super) fn set_longest_head(&self, bytes: usize) {
        self.longest_head.store(bytes, Ordering::Relaxed);
    }

    /// Whether a request had a valid credential, or none is required.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Notes that a request had a valid credential, or that none is required.
    pub(super) fn set_known(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// Notes that a request had this bearer's credential.
    pub(super) fn set_bearer(&self, bearer: &Identity) {
        self.set_known();
        self.party.set(bearer);
    }

    /// Notes that a request had no valid credential.
    pub(super) fn unset_bearer(&self) {
        self.party.unset();
    }

    /// Notes a request that needs no credential, or is refused for another reason. So the connection is no newcomer any more.
    pub(super) fn settle(&self) {
        self.party.settle();
    }

    /// Whose turns the connection takes, and whose if it has been a newcomer for too long.
    pub(super) fn parties(&self) -> [Party; 2] {
        [self.party.get(), self.party.unknown()]
    }

    /// The room for one small request.
    pub(super) const fn own_room(&self) -> &OwnRoom {
        &self.own_room
    }

    /// Notes that the rest of a request's body will not be read.
    pub(super) fn leave_body(&self) {
        self.has_left_body.store(true, Ordering::Relaxed);
    }

    /// Whether a part of a request may still arrive, or be unread in the kernel's buffer.
    pub(super) fn has_left_body(&self) -> bool {
        self.has_left_body.load(Ordering::Relaxed)
    }

    /// Ends the connection at once.
    pub(super) fn cut_off(&self) {
        self.cut_off.notify_one();
    }

    /// Completes when the connection must end at once.
    pub(super) async fn until_cut_off(&self) {
        self.cut_off.notified().await;
    }

    /// Whether the next answer is the last one on this connection.
    pub(super) fn is_ending(&self) -> bool {
        let is_replaced = |certificate: &Arc<ClientCertificate>| certificate.authorities().are_replaced();
        *self.phase.borrow() >= Phase::Draining || self.certificate.as_ref().is_some_and(is_replaced)
    }

    /// Whether a request with this `Host`, and without other headers that name a site, was accepted before.
    pub(super) fn has_accepted(&self, host: &HeaderValue) -> bool {
        self.accepted_host.get() == Some(host)
    }

    /// The numbers of requests.
    pub(super) const fn requests(&self) -> &RequestCounts {
        &self.requests
    }

    /// The grants whose answers are not written yet.
    pub(super) const fn unconfirmed(&self) -> &UnconfirmedGrants {
        &self.unconfirmed
    }

    /// Remembers an accepted `Host`.
    pub(super) fn accept_host(&self, host: &HeaderValue) {
        let _ = self.accepted_host.set(host.clone());
    }
}

#[cfg(test)]
impl Connection {
    /// A connection of a running service.
    pub(super) fn for_test(on_loopback: bool) -> Arc<Self> {
        Self::for_test_of(on_loopback, &Arc::default(), std::net::Ipv4Addr::LOCALHOST.into())
    }

    /// The same, of a client with this address.
    pub(super) fn for_test_from(peer: IpAddr) -> Arc<Self> {
        Self::for_test_among(&Arc::default(), peer)
    }

    /// The same, of a service with these newcomers.
    pub(super) fn for_test_among(newcomers: &Arc<Newcomers>, peer: IpAddr) -> Arc<Self> {
        Self::for_test_of(false, newcomers, peer)
    }

    fn for_test_of(on_loopback: bool, newcomers: &Arc<Newcomers>, peer: IpAddr) -> Arc<Self> {
        let client = (peer, LastParty::of_newcomer(peer, newcomers));
        Arc::new(Self::new(on_loopback, client, watch::channel(Phase::Serving).1, None))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("on_loopback", &self.on_loopback)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}
