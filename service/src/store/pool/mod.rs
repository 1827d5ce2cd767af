//! Pools of connections to a database.
//!
//! sqlx's pool pings a connection after each use: a round trip for every statement. The caller does not wait for it,
//! but both processes work for it. These pools take a connection back when its statement was answered. If the
//! connection broke or the caller gave up, it is closed. [`Health`] decides what one connection's failure means for
//! the others.

mod connect;
mod panics;
mod statements;
mod transaction;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use sea_orm::{
    DbErr, RuntimeErr,
    error::ConnAcquireErr,
    sqlx::{self, Connection},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use self::panics::unless_panicked;
pub(super) use self::{
    connect::{CONNECT_TIMEOUT, not_connected, retry_while_busy},
    transaction::Transaction,
};
use super::{
    classify::{Reaction, reaction},
    health::Health,
    servers::Servers,
    session::{Driver, Session},
};

/// How long a connection may be idle before it is tested: the server may have closed it.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(10);
/// How long a tested connection may take to answer. A slower one is replaced, which costs little more.
const TEST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it may take to notify a server that a connection ends.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// Size and time limits of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolOptions {
    /// The most connections.
    pub(super) connections: usize,
    /// The most connections that may be inside transactions at a time.
    pub(super) transactions: usize,
    /// How long to wait for a connection that others use.
    pub(super) wait_timeout: Duration,
    /// How long to wait for an answer.
    pub(super) answer_timeout: Duration,
}

/// Connections of one kind, opened when they are needed.
pub(super) struct Pool<DB: Driver> {
    servers: Arc<Servers<DB>>,
    session: Session,
    wait_timeout: Duration,
    answer_timeout: Duration,
    /// The most connections.
    connections: usize,
    /// One permit for each connection that may be in use.
    permits: Semaphore,
    /// One permit for each connection that may be inside a transaction.
    transaction_permits: Semaphore,
    /// Idle connections, the one used last at the end. Never locked across an await.
    idle: Mutex<Vec<Pooled<DB>>>,
    /// Number of connections that were opened so far.
    opened: AtomicU64,
    health: Arc<Health>,
}

/// A connection of a pool.
struct Pooled<DB: Driver> {
    connection: DB::Connection,
    opened: Instant,
    /// When the connection expires.
    expires: Instant,
    /// When the database last answered on the connection.
    answered: Instant,
    /// When the connection was last tested, or else opened.
    tested: Instant,
}

/// A connection in use. It is closed unless it is given back.
struct UsedConnection<'p, DB: Driver> {
    pool: &'p Pool<DB>,
    pooled: Pooled<DB>,
    /// Whether the connection can be used again: the database answered the last statement, and the session goes on.
    is_sound: bool,
    _permit: SemaphorePermit<'p>,
}

/// A statement under way. If it is dropped before its answer came, connections that have been silent since are
/// distrusted.
struct Unanswered<'p> {
    health: &'p Health,
    sent: Instant,
    answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.health.note_silence(self.sent);
        }
    }
}

impl<DB: Driver> std::fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<DB: Driver> Pool<DB> {
    /// An empty pool.
    pub(super) fn new(servers: Arc<Servers<DB>>, session: Session, size: PoolOptions) -> Self {
        Self {
            health: servers.health().clone(),
            servers,
            session,
            wait_timeout: size.wait_timeout,
            answer_timeout: size.answer_timeout,
            connections: size.connections,
            permits: Semaphore::new(size.connections),
            transaction_permits: Semaphore::new(size.transactions),
            idle: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// The numbers of connections: in use, idle, and the most there may be.
    pub(super) fn usage(&self) -> (usize, usize, usize) {
        let in_use = self.connections.saturating_sub(self.permits.available_permits());
        (in_use, self.idle().len(), self.connections)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Pooled<DB>>> {
        // A panic elsewhere leaves nothing half done: the list changes by one push or pop at a time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, idle or new.
    async fn lease(&self) -> Result<UsedConnection<'_, DB>, DbErr> {
        let permit = self.permit_of(&self.permits).await?;
        let idle = self.idle().pop();
        let pooled = match idle {
            Some(pooled) if self.is_fresh(&pooled) => pooled,
            // Boxed, since it is rare, and far larger than the use of a connection that is at hand.
            idle => Box::pin(self.other_connection(idle)).await?,
        };
        Ok(UsedConnection { pool: self, pooled, is_sound: true, _permit: permit })
    }

    /// Waits for a permit, at most for this pool's time limit.
    async fn permit_of<'p>(&self, permits: &'p Semaphore) -> Result<SemaphorePermit<'p>, DbErr> {
        if let Ok(permit) = permits.try_acquire() {
            return Ok(permit);
        }
        let permit = timeout(self.wait_timeout, permits.acquire()).await;
        let permit = permit.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        permit.map_err(|_| not_connected(sqlx::Error::PoolClosed))
    }

    /// Whether a connection can be used without a test.
    fn is_fresh(&self, pooled: &Pooled<DB>) -> bool {
        !Self::needs_test(pooled) && self.is_usable(pooled)
    }

    fn needs_test(pooled: &Pooled<DB>) -> bool {
        pooled.answered.elapsed() >= TEST_AFTER_IDLE || pooled.tested.elapsed() >= DB::TEST_EVERY
    }

    fn is_usable(&self, pooled: &Pooled<DB>) -> bool {
        Instant::now() < pooled.expires && self.health.trusts(pooled.opened, pooled.answered)
    }

    /// Tests idle connections, beginning with `first`, and opens a new one if none is left.
    async fn other_connection(&self, first: Option<Pooled<DB>>) -> Result<Pooled<DB>, DbErr> {
        let mut next = first;
        while let Some(mut pooled) = next {
            if self.is_usable(&pooled) {
                if !Self::needs_test(&pooled) || self.passes_test(&mut pooled).await {
                    return Ok(pooled);
                }
            } else if self.health.trusts(pooled.opened, pooled.answered) {
                // The connection is too old. A server that does not hear of its end only logs a warning.
                let _ = timeout(CLOSE_TIMEOUT, pooled.connection.close()).await;
            }
            next = self.idle().pop();
        }
        self.new_connection().await
    }

    /// Whether a connection still answers, and leads to a server that accepts writes. If not, connections that were
    /// idle for longer are no longer trusted, either.
    async fn passes_test(&self, pooled: &mut Pooled<DB>) -> bool {
        let test = timeout(TEST_TIMEOUT, DB::test(&self.session, &mut pooled.connection)).await;
        match test {
            Ok(Ok(())) => {
                pooled.answered = Instant::now();
                pooled.tested = pooled.answered;
                return true;
            }
            Ok(Err(error)) if reaction(&error) == Reaction::CloseAll => self.health.condemn_connections(),
            Ok(Err(_)) | Err(_) => self.health.note_silence(pooled.answered),
        }
        false
    }
}

impl<DB: Driver> Pool<DB> {
    /// Runs the work, unless another server is chosen meanwhile: then nobody waits for the former server's answer.
    async fn unless_server_changed<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        if !self.servers.are_several() {
            return work.await;
        }
        let mut server_changed = self.health.server_changed();
        tokio::select! {
            biased;
            result = work => result,
            _ = server_changed.changed() => Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()),
        }
    }
}

impl<DB: Driver> UsedConnection<'_, DB> {
    /// Runs `work` on the connection. The database has to answer in time.
    async fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DbErr> {
        self.is_sound = false;
        let mut unanswered = Unanswered { health: &self.pool.health, sent: Instant::now(), answered: false };
        let work = self.pool.unless_server_changed(unless_panicked(work(&mut self.pooled.connection)));
        let result = timeout(self.pool.answer_timeout, work).await;
        let result =
            result.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        match result.as_ref().map_or_else(reaction, |_| Reaction::Keep) {
            Reaction::Keep => {
                unanswered.answered = true;
                self.pooled.answered = Instant::now();
                self.is_sound = true;
            }
            Reaction::Close => unanswered.answered = true,
            Reaction::CloseAll => {
                unanswered.answered = true;
                self.pool.health.condemn_connections();
            }
            Reaction::Distrust => {}
        }
        result.map_err(failed)
    }

    /// Gives the connection back, if it can be used again.
    fn give_back(self) {
        let Self { pool, pooled, is_sound, .. } = self;
        if is_sound && pool.is_usable(&pooled) {
            pool.idle().push(pooled);
        }
    }
}

/// The error of a statement that was sent, or may have been.
fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}
