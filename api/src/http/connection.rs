//! The state that a client's connection shares with its requests.

mod by_network;
mod client_body;
mod in_flight;
mod newcomers;
mod party;
mod slots;
mod unconfirmed;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::http::HeaderValue;
use db_locks_service::access::Identity;
use tokio::sync::{Notify, watch};

pub use self::client_body::ClientBody;
pub(super) use self::in_flight::InFlight;
pub(crate) use self::unconfirmed::Unconfirmed;
pub(super) use self::{
    newcomers::Newcomers,
    party::{GROUPS, LastParty, Party},
    slots::{Slot, Slots},
};
use super::own_room::OwnRoom;
use crate::auth::ClientCertificate;

/// The phase of the service: serving, or a step of its shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The service serves.
    Serving,
    /// The service shuts down: each answer is the last one on its connection.
    Draining,
    /// Connections without a request are closed.
    Closing,
    /// All connections are closed.
    Ended,
}

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
    /// Number of requests that have arrived.
    requests: AtomicUsize,
    /// Number of requests whose answer is not complete.
    in_flight: AtomicUsize,
    /// Whether the client has had the time to send further requests on another connection.
    is_left: AtomicBool,
    /// Number of requests in flight that arrived in spite of that. Nothing waits for their answers.
    late: AtomicUsize,
    /// Whether [`Self::unconfirmed`] is not empty. It saves taking the lock at every flush.
    has_unconfirmed: AtomicBool,
    /// The grants whose answers are in the write buffer and not written to the kernel yet. The number of answers that fit into
    /// the buffer is the bound.
    unconfirmed: Mutex<Vec<Unconfirmed>>,
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
            requests: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            is_left: AtomicBool::new(false),
            late: AtomicUsize::new(0),
            has_unconfirmed: AtomicBool::new(false),
            unconfirmed: Mutex::new(Vec::new()),
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

    /// Remembers an accepted `Host`.
    pub(super) fn accept_host(&self, host: &HeaderValue) {
        let _ = self.accepted_host.set(host.clone());
    }

    /// Keeps a grant until its answer is written or the connection ends.
    pub(super) fn confirm_when_written(&self, grant: Unconfirmed) {
        self.unconfirmed().push(grant);
        self.has_unconfirmed.store(true, Ordering::Relaxed);
    }

    /// Whether a grant's answer is not written yet.
    pub(super) fn has_unconfirmed(&self) -> bool {
        self.has_unconfirmed.load(Ordering::Relaxed)
    }

    /// Marks the grants in the buffer as delivered: the buffer has been written to an open connection.
    pub(super) fn written(&self) {
        self.has_unconfirmed.store(false, Ordering::Relaxed);
        self.unconfirmed().drain(..).for_each(Unconfirmed::delivered);
    }

    /// Releases the grants whose answers were not written when the connection ended.
    pub(super) fn ended(&self) {
        self.has_unconfirmed.store(false, Ordering::Relaxed);
        self.unconfirmed().clear();
    }

    fn unconfirmed(&self) -> MutexGuard<'_, Vec<Unconfirmed>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of requests that have arrived so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// The number of requests that are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts requests that arrive from now on as late.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    /// Whether requests are in flight that are not late.
    pub(super) fn has_awaited(&self) -> bool {
        self.in_flight() > self.late.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight() > 0
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
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}
