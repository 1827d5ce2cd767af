//! A caller's request to what it asked for.
//!
//! A handler is dropped when its client disconnects, at any await. The request notices: a place in the queue is left,
//! a grant that was not handed on is given back. Nothing of this touches the database from the handler: it only sends a
//! message to the shard.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    EngineError, Shared, ids,
    pending_request::{Answer, Answered, Message, PendingRequest},
};
use crate::domain::{Acquire, Command, KeyId, Reply, RequestId, Version};

/// How far the acquire of this request got.
#[derive(Debug)]
enum Stage {
    /// Nothing was asked, or it was answered without a grant, or the grant was delivered.
    Settled,
    /// Asked, not answered.
    Asked(oneshot::Receiver<Answer>),
    /// Granted, not delivered.
    Granted,
}

/// One request: from the moment a caller asks for a lease until its answer has reached it.
#[derive(Debug)]
pub struct RequestGuard {
    shared: Arc<Shared>,
    id: KeyId,
    version: Version,
    chosen: bool,
    request_id: RequestId,
    stage: Stage,
    /// Since when the lock or permit was free that is on its way to a caller who waited for it.
    freed_at: Option<Instant>,
}

impl RequestGuard {
    pub(super) fn new(shared: Arc<Shared>, id: KeyId, chosen: Option<Version>, reentrant: bool) -> Self {
        Self {
            shared,
            id,
            version: chosen.unwrap_or_else(ids::version),
            chosen: chosen.is_some(),
            request_id: ids::request_id(reentrant),
            stage: Stage::Settled,
            freed_at: None,
        }
    }

    /// The version of the grant-to-be.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// What tells this request from others with the same version.
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Asks for the lease and waits for the answer.
    ///
    /// # Errors
    /// When the engine could not bring it to an answer; then nothing is held.
    pub async fn acquire(mut self, acquire: Acquire) -> Result<(Reply, Self), EngineError> {
        let shared = self.shared.clone();
        let _admission = shared.admit()?;
        let (sender, receiver) = oneshot::channel();
        let request = PendingRequest {
            id: self.id.clone(),
            command: Command::Acquire(acquire),
            reply: Some(sender),
            arrived: Instant::now(),
        };
        self.stage = Stage::Asked(receiver);
        self.shared.send(&self.id, Message::Command(request));
        let Stage::Asked(receiver) = &mut self.stage else { unreachable!("it was just asked") };
        let answer = receiver.await;
        self.stage = Stage::Settled;
        // The shard is gone only when the process ends.
        let Answered { reply, freed_at } = answer.unwrap_or(Err(EngineError::Draining))?;
        self.freed_at = freed_at;
        if matches!(reply, Reply::Granted(_)) {
            self.stage = Stage::Granted;
        }
        Ok((reply, self))
    }

    /// The grant has reached its caller.
    pub fn delivered(mut self) {
        self.stage = Stage::Settled;
        if let Some(freed_at) = self.freed_at {
            self.shared.metrics.handed_over(freed_at.elapsed());
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        match &mut self.stage {
            Stage::Settled => {}
            Stage::Granted => self.shared.undelivered(&self.id, self.version, self.chosen, self.request_id),
            Stage::Asked(receiver) => {
                receiver.close();
                // The answer may have been put there between the disconnect and now.
                match receiver.try_recv() {
                    Ok(Ok(Answered { reply: Reply::Granted(_), .. })) => {
                        self.shared.undelivered(&self.id, self.version, self.chosen, self.request_id);
                    }
                    Ok(_) => {}
                    Err(_) => self.shared.send(&self.id, Message::HungUp(self.request_id)),
                }
            }
        }
    }
}
