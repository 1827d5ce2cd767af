//! The handler's side of an acquire, which undoes the acquire if its answer cannot be delivered.
//!
//! A handler is dropped at any await when its client disconnects. Then the guard is dropped too: a waiter leaves its
//! queue, and a grant that was not delivered is given back. The guard only sends a message to the shard; it never
//! touches the database.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    Shared, ids,
    message::{Message, UndeliveredGrant},
    pending_request::{Answer, Answered},
};
use crate::{
    domain::{Acquire, Command, KeyId, Reply, RequestFlags, RequestId, Version},
    unavailable::Unavailable,
};

/// The minimum time from the arrival of an acquire that is shed to its answer. Without a pause thousands of clients
/// would ask again at once and take the processors from the heartbeats.
const SHED_AFTER: Duration = Duration::from_millis(250);

/// One acquire, from its arrival until its answer is delivered.
#[derive(Debug)]
pub struct RequestGuard {
    shared: Arc<Shared>,
    id: KeyId,
    /// The version of the future grant, then of the grant that was answered. They differ if the acquire was reentrant.
    version: Version,
    chosen: bool,
    request_id: RequestId,
    /// The channel of the answer, from when the acquire is sent until it is answered.
    answer: Option<oneshot::Receiver<Answer>>,
    /// Whether the engine answered with a grant that has not been delivered yet.
    holds_grant: bool,
    /// When the lock or permit became free, for a grant after a wait.
    freed_at: Option<Instant>,
}

impl RequestGuard {
    pub(super) fn new(shared: Arc<Shared>, id: KeyId, chosen: Option<Version>, flags: RequestFlags) -> Self {
        Self {
            shared,
            id,
            version: chosen.unwrap_or_else(ids::version),
            chosen: chosen.is_some(),
            request_id: ids::request_id(flags),
            answer: None,
            holds_grant: false,
            freed_at: None,
        }
    }

    /// The version of the future grant, or of the grant that was answered.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The id that distinguishes this request from others with the same version.
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Sends the acquire and waits for its answer.
    ///
    /// # Errors
    /// Fails if the engine could not answer the acquire. Then no grant is held.
    pub async fn acquire(mut self, acquire: Acquire) -> Result<(Reply, Self), Unavailable> {
        let arrived = Instant::now();
        let shared = self.shared.clone();
        let answer = match shared.admit() {
            Ok(counted) => {
                let command = Command::Acquire(acquire);
                let answer = self.answer.insert(shared.begin(self.id.clone(), command, Some(counted))).await;
                self.answer = None;
                // The shard is gone only when the process ends.
                answer.unwrap_or(Err(Unavailable::ShuttingDown))
            }
            Err(error) => Err(error),
        };
        if matches!(answer, Err(Unavailable::Overloaded)) {
            tokio::time::sleep_until(arrived + SHED_AFTER).await;
        }
        let Answered { reply, freed_at } = answer?;
        self.freed_at = freed_at;
        self.holds_grant = matches!(reply, Reply::Granted(_));
        self.version = reply.granted_version(self.version);
        Ok((reply, self))
    }

    /// Notes that the grant has reached its caller.
    pub fn delivered(mut self) {
        self.holds_grant = false;
        if let Some(freed_at) = self.freed_at {
            self.shared.metrics.handed_over(freed_at.elapsed());
        }
    }

    /// Gives the grant back at once, even if the caller chose its version: the caller must not have it.
    pub fn withhold(mut self) {
        self.chosen = false;
    }

    fn give_back(&self) {
        self.shared.undelivered(UndeliveredGrant {
            id: self.id.clone(),
            version: self.version,
            chosen: self.chosen,
            request_id: self.request_id,
        });
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.holds_grant {
            return self.give_back();
        }
        let Some(mut answer) = self.answer.take() else { return };
        answer.close();
        // The answer may have been sent between the disconnect and now.
        match answer.try_recv() {
            Ok(Ok(Answered { reply: reply @ Reply::Granted(_), .. })) => {
                self.version = reply.granted_version(self.version);
                self.give_back();
            }
            Ok(_) => {}
            Err(_) => self.shared.send(&self.id, Message::HungUp(self.request_id)),
        }
    }
}
