//! Opens connections.

use std::{sync::atomic::Ordering, time::Duration};

use sea_orm::{DbErr, RuntimeErr, sqlx};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    super::{classify::is_busy, session::Driver},
    Pool, Pooled,
};

/// How long to wait for a new connection.
pub(in super::super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The shortest life of a connection; the longest is twice as long. By then a name or an address may lead elsewhere.
const MIN_LIFE: Duration = Duration::from_mins(2);

/// How long to wait until a second attempt to connect is made beside the first: packets are lost, and addresses change.
const NEXT_ATTEMPT: Duration = Duration::from_secs(1);
/// The pause before a SQLite file that was busy is opened again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

impl<DB: Driver> Pool<DB> {
    /// Opens a connection to a server that accepts writes, and sets up its session.
    pub(super) async fn new_connection(&self) -> Result<Pooled<DB>, DbErr> {
        // Taken first: failures that are noted while the connection is opened count for it, too.
        let opened = Instant::now();
        let connection = timeout(CONNECT_TIMEOUT, retry_while_busy(|| self.connect_side_by_side())).await;
        let connection = connection.unwrap_or_else(|_| Err(not_connected(sqlx::Error::PoolTimedOut)))?;
        let answered = Instant::now();
        if self.health.is_condemned(opened) {
            return Err(not_connected(sqlx::Error::PoolTimedOut));
        }
        // Lives differ, so that the connections of a pool are not all replaced at once.
        let seconds = self.opened.fetch_add(1, Ordering::Relaxed).wrapping_mul(37) % MIN_LIFE.as_secs();
        let life = MIN_LIFE + Duration::from_secs(seconds);
        Ok(Pooled { connection, opened, expires: answered + life, answered, tested: answered })
    }

    /// Tries to connect, again and again beside attempts that hang. The first attempt that ends counts; the others are
    /// cancelled.
    async fn connect_side_by_side(&self) -> Result<DB::Connection, DbErr> {
        let mut attempts = JoinSet::new();
        loop {
            let (servers, session) = (self.servers.clone(), self.session.clone());
            attempts.spawn(async move { servers.connect(Some(&session)).await });
            tokio::select! {
                Some(ended) = attempts.join_next() => {
                    let ended = ended.map_err(|error| DbErr::Custom(error.to_string()))?;
                    return ended.map_err(not_connected);
                }
                () = sleep(NEXT_ATTEMPT) => {}
            }
        }
    }
}

/// Connects. While another process opens or closes a SQLite file, the file is locked for an instant, and SQLite does
/// not wait for that. Then this tries again.
pub(in super::super) async fn retry_while_busy<T, F: Future<Output = Result<T, DbErr>>>(
    connect: impl Fn() -> F,
) -> Result<T, DbErr> {
    let until = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match connect().await {
            Err(error) if is_busy(&error) && Instant::now() < until => sleep(BUSY_PAUSE).await,
            result => return result,
        }
    }
}

/// The error of a connection that could not be opened: nothing was sent.
pub(in super::super) fn not_connected(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}
