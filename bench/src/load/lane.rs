//! A client with its connection, which reconnects when it breaks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::client::{Client, Dialer, Failure, Failures};

/// The number of connections made at a time. More would overflow the accept queues of the servers.
const DIALS: usize = 32;

/// One client.
pub(super) struct Lane {
    /// The number of the client.
    pub(super) index: usize,
    /// Its connection.
    pub(super) client: Client,
    dialer: Arc<Dialer>,
}

impl Lane {
    /// Connects this number of clients.
    pub(super) async fn dial(dialer: Dialer, lanes: usize) -> anyhow::Result<Vec<Self>> {
        let dialer = Arc::new(dialer);
        let dial = |index| {
            let dialer = Arc::clone(&dialer);
            async move { dialer.dial(index).await.map(|client| Self { index, client, dialer }) }
        };
        let mut lanes: Vec<Self> = stream::iter(0..lanes)
            .map(dial)
            .buffer_unordered(DIALS)
            .try_collect()
            .await
            .context("connect")?;
        lanes.sort_by_key(|lane| lane.index);
        Ok(lanes)
    }

    /// Counts a failure, and reconnects if the connection cannot be used any more. Further failures until this moment
    /// are counted too.
    pub(super) async fn mend(&mut self, failure: &Failure, failures: &mut Failures, until: Instant) {
        failures.add(failure);
        if !failure.breaks() {
            return;
        }
        while Instant::now() < until {
            match self.dialer.dial(self.index).await {
                Ok(client) => {
                    self.client = client;
                    return;
                }
                Err(failure) => failures.add(&failure),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
