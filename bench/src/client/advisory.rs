//! `PostgreSQL`'s advisory locks: they live as long as the session, in memory, and have neither leases nor tokens.

use std::net::SocketAddr;

use tokio_postgres::Statement;

use super::{Ask, Failure, Grant, Session};

/// A client with its statements prepared.
pub(crate) struct Advisory {
    session: Session,
    acquire: Statement,
    release: Statement,
}

impl Advisory {
    /// Connects and prepares the statement that tries, or the one that waits.
    pub(super) async fn connect(address: SocketAddr, ask: Ask) -> Result<Self, Failure> {
        let mut session = Session::connect(address, "locks").await?;
        let acquire = if ask.wait_ms == 0 {
            "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
        } else {
            "SELECT true FROM (SELECT pg_advisory_lock(hashtextextended($1, 0))) AS locked"
        };
        let acquire = session.prepare(acquire).await?;
        let release = session.prepare("SELECT pg_advisory_unlock(hashtextextended($1, 0))").await?;
        Ok(Self { session, acquire, release })
    }

    /// Locks.
    pub(super) async fn acquire(&mut self, key: &str) -> Result<Grant, Failure> {
        let row = self.session.query("advisory lock", &self.acquire, &[&key]).await?;
        expect_true(row.as_ref(), "advisory lock").map(|()| Grant::default())
    }

    /// Unlocks.
    pub(super) async fn release(&mut self, key: &str) -> Result<(), Failure> {
        let row = self.session.query("advisory unlock", &self.release, &[&key]).await?;
        expect_true(row.as_ref(), "advisory unlock")
    }
}

/// Checks that the database did it.
fn expect_true(row: Option<&tokio_postgres::Row>, call: &'static str) -> Result<(), Failure> {
    let done: bool = row.ok_or(Failure::Malformed(call))?.get(0);
    if done { Ok(()) } else { Err(Failure::Refused(call)) }
}
