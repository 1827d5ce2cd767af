//! What this process knows of the epoch of fencing tokens, and what keeps grants of an earlier one from being written. `epoch` checks
//! and raises it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::Write;
use crate::domain::Epoch;

/// What this process knows of the epoch, shared by all of its connections.
#[derive(Debug, Default)]
pub(super) struct EpochWatch {
    /// The number of the highest epoch that was ever seen.
    highest: AtomicI64,
    /// When the server was started that was checked last, as the server writes it.
    server: Mutex<Option<String>>,
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

    /// Whether this is the server that was checked last. Behind a pooler a connection may lead to another one at any time.
    pub(super) fn recognise(&self, started: Option<&str>) -> Result<(), sqlx::Error> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() || server.as_deref() == started { Ok(()) } else { Err(failed(OtherServer)) }
    }

    /// What keeps these writes from being sent once a later epoch is known.
    pub(super) fn fence(&self, writes: &[Write]) -> Fence<'_> {
        let lowest = writes.iter().filter_map(|write| write.change.granted_under).min();
        Fence(lowest.map(|under| (self, under)))
    }
}

/// Lets grants pass that were decided under the current epoch: what is current, and the lowest epoch of the grants. `None` where
/// nothing is granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence<'w>(Option<(&'w EpochWatch, Epoch)>);

impl Fence<'_> {
    /// Lets everything pass: nothing is granted.
    pub(super) const OPEN: Fence<'static> = Fence(None);

    /// Fails if a later epoch is known. This is asked once the connection is at hand that the grants are sent on: making it may
    /// have raised the epoch.
    pub(super) fn pass(&self) -> Result<(), sqlx::Error> {
        match self.0 {
            Some((watch, under)) if under < watch.current() => Err(failed(EarlierEpoch)),
            Some(_) | None => Ok(()),
        }
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

/// The pooler in front of the database has led a connection to another server.
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
        let fence = Fence(Some((&watch, epoch(0))));
        assert!(fence.pass().is_ok());
        watch.note(epoch(5));
        assert!(fence.pass().is_err());
        assert!(Fence::OPEN.pass().is_ok(), "it grants nothing");
        assert!(Fence(Some((&watch, epoch(5)))).pass().is_ok());
        watch.note(epoch(3));
        assert_eq!(
            watch.current(),
            epoch(5),
            "a database that has forgotten its epoch does not take it back"
        );
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
