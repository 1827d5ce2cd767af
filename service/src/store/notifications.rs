//! Notifications pushed by PostgreSQL: one channel a replica, on a connection of its own.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{DbErr, RuntimeErr, sqlx};
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::{
    Notifications, StoreError,
    children::channel_of,
    classify::{Purpose, classify, timed_out},
    pool::CONNECT_TIMEOUT,
    session::plain_postgres_options,
};
use crate::domain::{Key, KeyId, ReplicaId, Tenant};

/// The listener asks the server something at least so often: a connection that only seems to stand is noticed then.
const PING: Duration = Duration::from_secs(5);
/// How long an answer to that is waited for.
const PONG: Duration = Duration::from_secs(2);

/// A listening connection.
pub(super) struct PgNotifications {
    listener: PgListener,
    channel: String,
}

impl PgNotifications {
    /// Listens on a connection of its own to the server at this URL.
    pub(super) async fn listen(url: &str, me: ReplicaId) -> Result<Self, StoreError> {
        let channel = channel_of(me.0);
        let listener = async {
            let options = plain_postgres_options(url.parse()?);
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .acquire_timeout(CONNECT_TIMEOUT)
                .connect_with(options)
                .await?;
            let mut listener = PgListener::connect_with(&pool).await?;
            // Its reconnects would be silent, and notifications lost meanwhile would not be looked for.
            listener.eager_reconnect(false);
            listener.listen(&channel).await?;
            Ok(listener)
        };
        Ok(Self { listener: listener.await.map_err(failed)?, channel })
    }

    /// Makes the listener say something to the server.
    async fn ping(&mut self) -> Result<(), StoreError> {
        let listen = self.listener.listen(&self.channel);
        tokio::time::timeout(PONG, listen).await.map_err(|_| timed_out(Purpose::Read))?.map_err(failed)
    }
}

#[async_trait]
impl Notifications for PgNotifications {
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError> {
        loop {
            match tokio::time::timeout(PING, self.listener.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    if let Some(id) = read_payload(notification.payload()) {
                        return Ok(Some(id));
                    }
                }
                // The connection was lost; the next call makes it anew.
                Ok(Ok(None)) => {
                    self.ping().await?;
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => self.ping().await?,
            }
        }
    }
}

fn read_payload(payload: &str) -> Option<KeyId> {
    let (tenant, key): (String, String) = serde_json::from_str(payload).ok()?;
    Some(KeyId { tenant: Tenant::trusted(&tenant), key: Key::trusted(&key) })
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(DbErr::Query(RuntimeErr::SqlxError(error.into())), Purpose::Read)
}
