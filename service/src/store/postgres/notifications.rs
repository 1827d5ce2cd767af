//! Notifications from PostgreSQL: each replica listens on a channel of its own, over a connection of its own.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::{DbErr, RuntimeErr, sqlx};
use sqlx::{
    Postgres,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    domain::{KeyId, ReplicaId},
    store::{
        Notifications, StoreError,
        children::channel_of,
        classify::{Purpose, classify, timed_out},
        pool::CONNECT_TIMEOUT,
        rows::key_id,
        servers::Servers,
    },
};

/// The longest silence before the server is asked something, to find out whether the connection still works.
const PING: Duration = Duration::from_secs(5);
/// How long to wait for the server's answer.
const PONG: Duration = Duration::from_secs(2);

/// A listening connection.
pub(in super::super) struct PgNotifications {
    servers: Arc<Servers<Postgres>>,
    channel: String,
    listener: PgListener,
    /// Changes when the listener's server must not be used any more.
    condemned: watch::Receiver<()>,
}

impl PgNotifications {
    /// Listens on a connection of its own to the server that is written to.
    pub(in super::super) async fn listen(
        servers: Arc<Servers<Postgres>>,
        me: ReplicaId,
    ) -> Result<Self, StoreError> {
        Self::listen_on(servers, channel_of(me.0)).await
    }

    async fn listen_on(servers: Arc<Servers<Postgres>>, channel: String) -> Result<Self, StoreError> {
        let condemned = servers.health().condemned();
        let listener = async {
            let options = servers.options().await?.clone();
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
        let listener = timeout(CONNECT_TIMEOUT, listener).await.map_err(|_| timed_out(Purpose::Read))?;
        Ok(Self { listener: listener.map_err(failed)?, servers, channel, condemned })
    }

    /// Listens again, after the connection was lost or when it leads to a server that is no longer written to.
    async fn listen_again(&mut self) -> Result<(), StoreError> {
        *self = Self::listen_on(self.servers.clone(), self.channel.clone()).await?;
        Ok(())
    }

    /// Makes the server answer something.
    async fn ping(&mut self) -> Result<(), StoreError> {
        let listen = self.listener.listen(&self.channel);
        timeout(PONG, listen).await.map_err(|_| timed_out(Purpose::Read))?.map_err(failed)
    }
}

#[async_trait]
impl Notifications for PgNotifications {
    async fn next(&mut self) -> Result<Option<KeyId>, StoreError> {
        loop {
            let received = tokio::select! {
                received = timeout(PING, self.listener.try_recv()) => received,
                _ = self.condemned.changed() => Ok(Ok(None)),
            };
            match received {
                Ok(Ok(Some(notification))) => {
                    if let Some(id) = read_payload(notification.payload()) {
                        return Ok(Some(id));
                    }
                }
                Ok(Ok(None)) => {
                    self.listen_again().await?;
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
