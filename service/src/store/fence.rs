//! What this process knows of the server and of the epoch of fencing tokens, and what keeps writes from a connection that they are not
//! meant for: grants of an earlier epoch, and statements for another kind of server. `epoch` checks and raises the epoch.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::Write;
use crate::domain::Epoch;

/// What this process knows of the server and its epoch, shared by all of its connections.
#[derive(Debug, Default)]
pub(super) struct EpochWatch {
    /// The number of the highest epoch that was ever seen.
    highest: AtomicI64,
    /// When the server was started that was checked last, as the server writes it.
    server: Mutex<Option<String>>,
    /// Whether the server that was connected to last is a node of a Galera cluster.
    is_galera: AtomicBool,
}

impl EpochWatch {
    /// The highest epoch that was ever seen: that of new grants.
    pub(super) fn current(&self) -> Epoch {
        Epoch::new(self.highest.load(Ordering::Acquire)).unwrap_or_default()
    }

    /// Notes an epoch that the database has.
    pub(super) fn note(&self, epoch: Epoch) {
        let before = self.highest.fetch_max(epoch.number(), Ordering::AcqRel);
        if before < epoch.number() {
            tracing::info!(epoch = epoch.number(), "fencing tokens are those of this epoch from now on");
        }
    }

    /// Notes the server that was checked.
    pub(super) fn note_server(&self, started: Option<&str>) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        *server = started.map(str::to_owned);
    }

    /// Notes whether the server of a new connection is a node of a Galera cluster.
    pub(super) fn note_galera(&self, is_galera: bool) {
        self.is_galera.store(is_galera, Ordering::Release);
    }

    /// Whether this is the server that was checked last. Behind a pooler a connection may lead to another one at any time.
    pub(super) fn recognise(&self, started: Option<&str>) -> Result<(), sqlx::Error> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() || server.as_deref() == started { Ok(()) } else { Err(failed(OtherServer)) }
    }

    /// What keeps these writes from being sent once a later epoch or another kind of server is known.
    pub(super) fn fence(&self, writes: &[Write]) -> Fence<'_> {
        let under = writes.iter().filter_map(|write| write.change.granted_under).min();
        Fence(Some(Conditions { watch: self, under, is_galera: self.is_galera.load(Ordering::Acquire) }))
    }
}

/// Lets writes pass that were made for the server that is connected to, under its current epoch. `None` for what only reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence<'w>(Option<Conditions<'w>>);

/// What has to be so when writes are sent.
#[derive(Debug, Clone, Copy)]
struct Conditions<'w> {
    watch: &'w EpochWatch,
    /// The lowest epoch of what is granted.
    under: Option<Epoch>,
    /// Whether the statements are those for a node of a Galera cluster.
    is_galera: bool,
}

impl Fence<'_> {
    /// Lets everything pass: nothing is written.
    pub(super) const OPEN: Fence<'static> = Fence(None);

    /// Whether the statements have to be those for a node of a Galera cluster.
    pub(super) fn is_galera(&self) -> bool {
        self.0.is_some_and(|conditions| conditions.is_galera)
    }

    /// Fails if a later epoch or another kind of server is known. This is asked once the connection is at hand that the writes are
    /// sent on: making it may have raised the epoch.
    pub(super) fn pass(&self) -> Result<(), sqlx::Error> {
        let Some(Conditions { watch, under, is_galera }) = self.0 else { return Ok(()) };
        if under.is_some_and(|under| under < watch.current()) {
            return Err(failed(EarlierEpoch));
        }
        if is_galera == watch.is_galera.load(Ordering::Acquire) { Ok(()) } else { Err(failed(OtherServer)) }
    }

    /// The same as an error of a statement.
    pub(super) fn pass_statement(&self) -> Result<(), DbErr> {
        self.pass().map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
    }
}

/// A grant was decided under an earlier epoch.
#[derive(Debug, thiserror::Error)]
#[error("a grant was decided under an earlier epoch")]
pub(super) struct EarlierEpoch;

/// The pooler in front of the database has led a connection to another server, or the server is one of another kind by now.
#[derive(Debug, thiserror::Error)]
#[error("the connection leads to another server than before")]
pub(super) struct OtherServer;

/// Something that was found out before a statement was sent.
fn failed(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: i64) -> Epoch {
        Epoch::new(number).unwrap_or_default()
    }

    /// Guards invariant 2.
    #[test]
    fn a_grant_under_an_earlier_epoch_does_not_pass() {
        let watch = EpochWatch::default();
        let granted_under =
            |number| Fence(Some(Conditions { watch: &watch, under: Some(epoch(number)), is_galera: false }));
        let fence = granted_under(0);
        assert!(fence.pass().is_ok());
        watch.note(epoch(5));
        assert!(fence.pass().is_err());
        assert!(watch.fence(&[]).pass().is_ok(), "it grants nothing");
        assert!(granted_under(5).pass().is_ok());
        watch.note(epoch(3));
        assert_eq!(
            watch.current(),
            epoch(5),
            "a database that has forgotten its epoch does not take it back"
        );
    }

    /// Guards invariant 1. On a node of a cluster a text of several statements may be carried out in part.
    #[test]
    fn what_is_meant_for_another_kind_of_server_does_not_pass() {
        let watch = EpochWatch::default();
        let before = watch.fence(&[]);
        assert!(before.pass().is_ok() && !before.is_galera());
        watch.note_galera(true);
        assert!(before.pass().is_err(), "the connection that it is sent on was made since");
        let since = watch.fence(&[]);
        assert!(since.pass().is_ok() && since.is_galera());
    }

    #[test]
    fn a_pooler_that_leads_elsewhere_is_noticed() {
        let watch = EpochWatch::default();
        assert!(watch.recognise(Some("1")).is_ok(), "no server was checked yet");
        watch.note_server(Some("1"));
        assert!(watch.recognise(Some("1")).is_ok() && watch.recognise(Some("2")).is_err());
        assert!(watch.recognise(None).is_err());
    }
}
