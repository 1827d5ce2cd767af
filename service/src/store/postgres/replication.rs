//! Makes sure that committed writes survive a failover to a synchronous standby.
//!
//! If a commit's wait for its standby is cancelled, the commit exists on this server only. PostgreSQL answers it with a
//! warning, or closes the connection. A failover may lose the rows that this server shows from then on, but a later
//! write is replicated after them. So after a commit of unknown outcome, nothing is read or written for decisions
//! before another write was replicated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::sqlx::{self, Connection, Postgres};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::notices::Notices;
use crate::store::{
    StoreError,
    classify::{Purpose, classify},
    pool::not_connected,
    servers::Servers,
};

/// A write that changes nothing: a message in the server's WAL, which its standbys have to confirm. Warnings are
/// switched on, since they may be off for the role.
const WRITE: &str = "BEGIN; SET LOCAL client_min_messages = warning; \
     SELECT pg_logical_emit_message(true, 'db_locks', ''); COMMIT";
/// Statements that make the server send a warning.
const WARN: &str = "BEGIN; SET LOCAL client_min_messages = warning; BEGIN; COMMIT";
/// How long a caller waits for the proof that a write was replicated.
const WAIT: Duration = Duration::from_secs(3);
/// How long to wait until the proving write is sent again: a firewall may have forgotten its connection. It is not
/// given up earlier, since its transaction would go on waiting in the server.
const RESEND_AFTER: Duration = Duration::from_secs(30);

/// The state of replication.
#[derive(Debug)]
pub(in super::super) struct Replication {
    notices: Notices,
    servers: Arc<Servers<Postgres>>,
    /// Number of commits of unknown outcome. `confirmed` counts those before the last write that is known to be
    /// replicated.
    unknown: AtomicU64,
    confirmed: AtomicU64,
    /// The proving write under way, with the number of unknown outcomes before it.
    proof: Mutex<JoinSet<Result<u64, sqlx::Error>>>,
}

impl Replication {
    pub(in super::super) fn new(servers: Arc<Servers<Postgres>>) -> Self {
        Self {
            notices: Notices::new(),
            servers,
            unknown: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            proof: Mutex::default(),
        }
    }

    /// Whether the driver passes on the server's warnings. Without them, a commit that exists on this server only looks
    /// like any other.
    pub(in super::super) async fn hears_warnings(&self) -> Result<bool, sqlx::Error> {
        let mut connection = self.servers.connect(None).await?;
        let warn = sqlx::raw_sql(WARN).execute(&mut connection);
        let (done, warned) = Notices::quiet().listen(warn).await;
        done?;
        let _ = connection.close().await;
        Ok(warned)
    }

    /// Commits, once no earlier commit is in doubt.
    pub(in super::super) async fn commit<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.wait_until_certain().await?;
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

    /// Waits until a write was replicated after the last commit of unknown outcome.
    pub(in super::super) async fn wait_until_certain(&self) -> Result<(), StoreError> {
        while self.is_in_doubt() {
            // Only one caller at a time has a write replicated.
            let prove = async {
                let mut proof = self.proof.lock().await;
                if !self.is_in_doubt() {
                    return Ok(());
                }
                if proof.is_empty() {
                    proof.spawn(prove(self.servers.clone(), self.unknown.load(Ordering::Acquire)));
                }
                match proof.join_next().await {
                    Some(Ok(Ok(confirmed))) => {
                        self.confirmed.fetch_max(confirmed, Ordering::AcqRel);
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

/// Makes a write that changes nothing, and waits for its replication. Returns `unknown`.
async fn prove(servers: Arc<Servers<Postgres>>, unknown: u64) -> Result<u64, sqlx::Error> {
    let notices = Notices::new();
    let write = async {
        let mut connection = servers.connect(None).await?;
        let (written, warned) = notices.listen(sqlx::raw_sql(WRITE).execute(&mut connection)).await;
        written?;
        let _ = connection.close().await;
        Ok(warned)
    };
    let mut condemned = servers.health().condemned();
    let write = async {
        tokio::select! {
            written = write => written,
            // The write may wait forever for a standby that has taken over.
            _ = condemned.changed() => Err(sqlx::Error::PoolTimedOut),
        }
    };
    match timeout(RESEND_AFTER, write).await {
        Ok(Ok(false)) => Ok(unknown),
        Ok(Ok(true)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        Ok(Err(sqlx::Error::Database(error))) if is_unsupported(&*error) => {
            tracing::warn!(%error, "replication cannot be proved here, so the server's rows are trusted without it");
            Ok(unknown)
        }
        Ok(Err(error)) => {
            // The next caller tries again.
            sleep(Duration::from_millis(20)).await;
            Err(error)
        }
    }
}

/// Whether the server lacks the function (it may only speak PostgreSQL's protocol), or reserves it for administrators.
pub(super) fn is_unsupported(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|state| state.starts_with("42") || state.starts_with("0A"))
}
