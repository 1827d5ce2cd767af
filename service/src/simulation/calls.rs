//! A request on its way from a client to a replica and back.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::{sync::oneshot, time::sleep};

use super::{
    checker::RequestId,
    plan::Plan,
    request::{Answer, Ask, carry_out},
    world::{GUARD_WAIT, Replica, World},
};
use crate::{LockService, domain::KeyId};

/// The time after its wait in which a request must be answered: the service's limit, and some time to act on it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(7);

impl World {
    /// Sends a client's request to a replica. `None` if there was no answer.
    pub(super) async fn call(
        self: &Arc<Self>,
        client: usize,
        number: usize,
        id: &KeyId,
        ask: Ask,
        hangs_up_after: Option<u64>,
    ) -> Option<Answer> {
        let replica = self.replicas()[number].clone()?;
        let request = self.record.asked(client, number, id, &ask);
        let was_paused = replica.process.is_paused();
        let guard_wait = if self.is_guarded(id) { GUARD_WAIT } else { Duration::ZERO };
        let longest = Duration::from_millis(ask.wait_ms().unsigned_abs()) + ANSWERED_WITHIN + guard_wait;
        let (sender, receiver) = oneshot::channel();
        let handler = Handler { world: self.clone(), id: id.clone(), request, sender };
        let task = replica.process.spawn(handler.serve(replica.service.clone(), ask));
        let hang_up = hangs_up_after.map_or(longest, Duration::from_millis);
        let answer = tokio::select! {
            biased;
            answer = receiver => answer.ok(),
            () = sleep(hang_up) => {
                if hangs_up_after.is_none() && !was_paused {
                    self.check_deadlines(&replica, number, request);
                }
                None
            }
        };
        let lost = if Plan::is_lively(self.at()) { self.plan.lost_answers } else { 0.0 };
        let Some(answer) = answer.filter(|_| !(lost > 0.0 && self.draw(|random| random.random_bool(lost))))
        else {
            self.record.abandoned(request, "its client has no answer");
            // The service notices a little later.
            sleep(Duration::from_millis(self.draw(|random| random.random_range(0..40)))).await;
            task.abort();
            return None;
        };
        if let Answer::Granted(view) = &answer {
            self.record.received(request, view);
            if let Some(held) = &view.held {
                self.remember_version(held.version);
            }
        }
        self.record.abandoned(request, "its client has the answer");
        Some(answer)
    }

    /// Checks that the client did not wait too long for an answer, unless its replica did not run.
    fn check_deadlines(&self, asked: &Replica, number: usize, request: RequestId) {
        let replicas = self.replicas();
        let ran = replicas[number].as_ref().is_some_and(|replica| {
            Arc::ptr_eq(&replica.process, &asked.process)
                && replica.pauses == asked.pauses
                && !replica.process.is_paused()
        });
        drop(replicas);
        if ran {
            self.record.fail(format!("{request} got no answer in time"));
        }
    }
}

/// The handler of a request, in the process that serves it.
struct Handler {
    world: Arc<World>,
    id: KeyId,
    request: RequestId,
    sender: oneshot::Sender<Answer>,
}

impl Handler {
    async fn serve(self, service: LockService, ask: Ask) {
        let Self { world, id, request, sender } = self;
        world.travel().await;
        let (answer, delivery) = carry_out(&service, id, ask).await;
        world.record.answered(request, &answer);
        world.travel().await;
        match delivery {
            // The connection is gone: the answer is dropped, and counts as undelivered.
            Some(_) if sender.is_closed() => {}
            Some(delivery) => {
                world.record.delivered(request, delivery.view());
                delivery.delivered();
                let _ = sender.send(answer);
            }
            None => drop(sender.send(answer)),
        }
    }
}

impl World {
    /// Waits for the time of a network transfer.
    async fn travel(&self) {
        match self.draw(|random| random.random_range(0..4)) {
            0 => {}
            1 => tokio::task::yield_now().await,
            ms => sleep(Duration::from_millis(ms - 1)).await,
        }
    }
}
