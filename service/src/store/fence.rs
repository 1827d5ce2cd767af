//! Keeps what this process knows of the server and of the epoch of fencing tokens. A fence rejects writes that do not
//! fit: those decided under an earlier epoch, and statements for another kind of server. `epoch` checks and raises the epoch.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::{Write, not_sent::NotSent};
use crate::domain::Epoch;

/// The server and the epoch that this process knows, shared by all of its connections.
#[derive(Debug, Default)]
pub(super) struct EpochWatch {
    /// The number of the highest epoch ever seen.
    highest: AtomicI64,
    /// Start time of the server that was checked last, in the server's own notation.
    server: Mutex<Option<String>>,
    /// Whether the server of the newest connection is a node of a Galera cluster.
    is_galera: AtomicBool,
}

impl EpochWatch {
    /// The highest epoch ever seen: the epoch of new grants.
    pub(super) fn current(&self) -> Epoch {
        Epoch::new(self.highest.load(Ordering::Acquire)).unwrap_or_default()
    }

    /// Records an epoch that the database has.
    pub(super) fn note(&self, epoch: Epoch) {
        let before = self.highest.fetch_max(epoch.number(), Ordering::AcqRel);
        if before < epoch.number() {
            tracing::info!(epoch = epoch.number(), "new fencing tokens belong to this epoch from now on");
        }
    }

    /// Records the start time of the server that was checked.
    pub(super) fn note_server(&self, started: Option<&str>) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        *server = started.map(str::to_owned);
    }

    /// Records whether the server of a new connection is a node of a Galera cluster.
    pub(super) fn note_galera(&self, is_galera: bool) {
        self.is_galera.store(is_galera, Ordering::Release);
    }

    /// Fails unless this is the server that was checked last. Behind a pooler a connection may lead to another server
    /// at any time.
    pub(super) fn check_same_server(&self, started: Option<&str>) -> Result<(), sqlx::Error> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() || server.as_deref() == started {
            Ok(())
        } else {
            Err(NotSent::OtherServer.into())
        }
    }

    /// A fence that rejects these writes once a later epoch or another kind of server is known.
    pub(super) fn fence(&self, writes: &[Write]) -> Fence<'_> {
        let under = writes.iter().filter_map(|write| write.change.decided_under).min();
        Fence(Some(Conditions { watch: self, under, is_galera: self.is_galera.load(Ordering::Acquire) }))
    }
}

/// Lets writes pass only if they fit the connected server and its current epoch. `None` for statements that only read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence<'w>(Option<Conditions<'w>>);

/// The conditions that must hold when writes are sent.
#[derive(Debug, Clone, Copy)]
struct Conditions<'w> {
    watch: &'w EpochWatch,
    /// The earliest epoch that one of the writes was decided under.
    under: Option<Epoch>,
    /// Whether the statements were made for a node of a Galera cluster.
    is_galera: bool,
}

impl Fence<'_> {
    /// A fence that lets everything pass, for statements that write nothing.
    pub(super) const OPEN: Fence<'static> = Fence(None);

    /// Whether the statements have to be those for a node of a Galera cluster.
    pub(super) fn is_galera(&self) -> bool {
        self.0.is_some_and(|conditions| conditions.is_galera)
    }

    /// Fails if a later epoch or another kind of server is known. Call this once the connection for the writes is open:
    /// opening it may have raised the epoch.
    pub(super) fn pass(&self) -> Result<(), sqlx::Error> {
        let Some(Conditions { watch, under, is_galera }) = self.0 else { return Ok(()) };
        if under.is_some_and(|under| under < watch.current()) {
            return Err(NotSent::EarlierEpoch.into());
        }
        if is_galera == watch.is_galera.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(NotSent::OtherServer.into())
        }
    }

    /// [`Self::pass`] with the error type of a statement.
    pub(super) fn pass_statement(&self) -> Result<(), DbErr> {
        self.pass().map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: i64) -> Epoch {
        Epoch::new(number).unwrap_or_default()
    }

    /// Guards invariant 2.
    #[test]
    fn a_write_decided_under_an_earlier_epoch_does_not_pass() {
        let watch = EpochWatch::default();
        let decided_under =
            |number| Fence(Some(Conditions { watch: &watch, under: Some(epoch(number)), is_galera: false }));
        let fence = decided_under(0);
        assert!(fence.pass().is_ok());
        watch.note(epoch(5));
        assert!(fence.pass().is_err());
        assert!(watch.fence(&[]).pass().is_ok(), "it writes nothing");
        assert!(decided_under(5).pass().is_ok());
        watch.note(epoch(3));
        assert_eq!(
            watch.current(),
            epoch(5),
            "a database that has forgotten its epoch does not take it back"
        );
    }

    /// Guards invariant 1. On a node of a cluster a text of several statements may be carried out in part.
    #[test]
    fn writes_for_another_kind_of_server_do_not_pass() {
        let watch = EpochWatch::default();
        let before = watch.fence(&[]);
        assert!(before.pass().is_ok() && !before.is_galera());
        watch.note_galera(true);
        assert!(before.pass().is_err(), "the connection that it is sent on was made since");
        let since = watch.fence(&[]);
        assert!(since.pass().is_ok() && since.is_galera());
    }

    #[test]
    fn a_pooler_that_leads_to_another_server_is_noticed() {
        let watch = EpochWatch::default();
        assert!(watch.check_same_server(Some("1")).is_ok(), "no server was checked yet");
        watch.note_server(Some("1"));
        assert!(watch.check_same_server(Some("1")).is_ok() && watch.check_same_server(Some("2")).is_err());
        assert!(watch.check_same_server(None).is_err());
    }
}
