//! Notifications from PostgreSQL: each replica listens on a channel of its own, over a connection of its own.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{DbErr, RuntimeErr, sqlx};
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::session::plain_options;
use crate::{
    domain::{KeyId, ReplicaId},
    store::{
        Notifications, StoreError,
        children::channel_of,
        classify::{Purpose, classify, timed_out},
        pool::CONNECT_TIMEOUT,
        rows::key_id,
    },
};

/// The longest silence before the server is asked something, which shows whether the connection still works.
const PING: Duration = Duration::from_secs(5);
/// How long the answer is waited for.
const PONG: Duration = Duration::from_secs(2);

/// A listening connection.
pub(in super::super) struct PgNotifications {
    listener: PgListener,
    channel: String,
}

impl PgNotifications {
    /// Listens on a connection of its own to the server at this URL.
    pub(in super::super) async fn listen(url: &str, me: ReplicaId) -> Result<Self, StoreError> {
        let channel = channel_of(me.0);
        let listener = async {
            let options = plain_options(url.parse()?);
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .acquire_timeout(CONNECT_TIMEOUT)
                .connect_with(options)
                .await?;
            let mut listener = PgListener::connect_with(&pool).await?;
            // A silent reconnect would hide that notifications were lost meanwhile.
            listener.eager_reconnect(false);
            listener.listen(&channel).await?;
            Ok(listener)
        };
        Ok(Self { listener: listener.await.map_err(failed)?, channel })
    }

    /// Has the server answer something, over a new connection if the old one was lost.
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
    Some(key_id(&tenant, &key))
}

fn failed(error: sqlx::Error) -> StoreError {
    classify(DbErr::Query(RuntimeErr::SqlxError(error.into())), Purpose::Read)
}
