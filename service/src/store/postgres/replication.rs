//! Whether what was committed would survive a failover to a synchronous standby.
//!
//! A commit whose wait for its standby was cancelled has happened on this server and nowhere else. PostgreSQL answers it with a
//! warning, or closes the connection. What this server shows from then on proves nothing; but what it has replicated later
//! comes after it. So after each commit of unknown outcome nothing is read or written for decisions before another write was
//! replicated.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sea_orm::sqlx::{self, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    super::{
        StoreError,
        classify::{Purpose, classify},
        pool::not_connected,
    },
    notices::Notices,
};

/// A write that changes nothing: a message in the log of the server, which its standbys have to confirm. Warnings are asked
/// for, since a role may have been set to go without.
const WRITE: &str = "BEGIN; SET LOCAL client_min_messages = warning; \
     SELECT pg_logical_emit_message(true, 'db_locks', ''); COMMIT";
/// Statements of which one makes the server warn.
const WARN: &str = "BEGIN; SET LOCAL client_min_messages = warning; BEGIN; COMMIT";
/// How long one who needs the proof waits for it.
const WAIT: Duration = Duration::from_secs(3);
/// After so long the proving write is begun anew: its connection may have been forgotten by a firewall. Until then it keeps
/// waiting for the standby, since one that is given up goes on waiting in the server.
const ANEW: Duration = Duration::from_secs(30);

/// What is known of replication.
#[derive(Debug)]
pub(in super::super) struct Replication {
    notices: Notices,
    options: PgConnectOptions,
    /// How many commits had an unknown outcome, and how many of them had one when a later write was replicated.
    unknown: AtomicU64,
    confirmed: AtomicU64,
    /// The proving write under way, with the number of unknown outcomes before it.
    proof: Mutex<JoinSet<Result<u64, sqlx::Error>>>,
}

impl Replication {
    pub(in super::super) fn new(options: PgConnectOptions) -> Self {
        Self {
            notices: Notices::new(),
            options,
            unknown: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            proof: Mutex::default(),
        }
    }

    /// Whether the driver lets the server's warnings be heard. Without them a commit that only this server has cannot be told
    /// from others.
    pub(in super::super) async fn hears_warnings(&self) -> Result<bool, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let warn = sqlx::raw_sql(WARN).execute(&mut connection);
        let (done, warned) = Notices::quiet().listen(warn).await;
        done?;
        let _ = connection.close().await;
        Ok(warned)
    }

    /// Commits, once it is known that nothing before is in doubt.
    pub(in super::super) async fn commit<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.settle().await?;
        let (result, warned) = self.notices.listen(work).await;
        let result = match result {
            Ok(_) if warned => {
                tracing::warn!("a commit was answered with a warning: it may not have reached its standby");
                Err(StoreError::Unknown("the server warned of the commit".into()))
            }
            result => result,
        };
        if matches!(result, Err(StoreError::Unknown(_))) {
            self.unknown.fetch_add(1, Ordering::AcqRel);
        }
        result
    }

    /// Returns when a write was replicated after the last commit of unknown outcome.
    pub(in super::super) async fn settle(&self) -> Result<(), StoreError> {
        while self.is_in_doubt() {
            // In line with others who need it.
            let prove = async {
                let mut proof = self.proof.lock().await;
                if !self.is_in_doubt() {
                    return Ok(());
                }
                if proof.is_empty() {
                    proof.spawn(prove(self.options.clone(), self.unknown.load(Ordering::Acquire)));
                }
                match proof.join_next().await {
                    Some(Ok(Ok(settled))) => {
                        self.confirmed.fetch_max(settled, Ordering::AcqRel);
                        Ok(())
                    }
                    Some(Ok(Err(error))) => Err(classify(not_connected(error), Purpose::Read)),
                    Some(Err(_)) | None => Err(in_doubt()),
                }
            };
            timeout(WAIT, prove).await.unwrap_or_else(|_| Err(in_doubt()))?;
        }
        Ok(())
    }

    fn is_in_doubt(&self) -> bool {
        self.confirmed.load(Ordering::Acquire) < self.unknown.load(Ordering::Acquire)
    }
}

fn in_doubt() -> StoreError {
    StoreError::Unreachable("after a commit of unknown outcome no write was replicated yet".into())
}

/// Has a write replicated; answers the number it was begun with.
async fn prove(options: PgConnectOptions, unknown: u64) -> Result<u64, sqlx::Error> {
    let notices = Notices::new();
    let write = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        let (written, warned) = notices.listen(sqlx::raw_sql(WRITE).execute(&mut connection)).await;
        written?;
        let _ = connection.close().await;
        Ok(warned)
    };
    match timeout(ANEW, write).await {
        Ok(Ok(false)) => Ok(unknown),
        Ok(Ok(true)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        Ok(Err(sqlx::Error::Database(error))) if is_unsupported(&*error) => {
            tracing::warn!(%error, "replication cannot be proved here; what the server shows is believed");
            Ok(unknown)
        }
        Ok(Err(error)) => {
            // Whoever asks next begins anew.
            sleep(Duration::from_millis(20)).await;
            Err(error)
        }
    }
}

/// Whether a server that only speaks PostgreSQL's protocol lacks the function, or keeps it to administrators.
fn is_unsupported(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|state| state.starts_with("42") || state.starts_with("0A"))
}
