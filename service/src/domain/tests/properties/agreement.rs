//! The rules beside the naive model.

use super::{Numbers, command};
use crate::domain::{
    Command, Kind, Refusal, Reply, Verdict,
    tests::{
        fixtures::{START, Scene, v},
        model::{Ask, Model, ModelAnswer},
    },
};

fn told_by_model(model: &mut Model, ask_for: &Ask, command: &Command) -> ModelAnswer {
    match (ask_for, command) {
        (Ask::Acquire { owner, chosen, lease, waits, .. }, Command::Acquire(acquire)) => {
            model.acquire(acquire.version, *owner, *chosen, *lease, *waits, acquire.request_id.0)
        }
        (Ask::Heartbeat { lease, .. }, Command::Heartbeat(heartbeat)) => {
            model.heartbeat(heartbeat.version, *lease)
        }
        (_, Command::Release(release)) => model.release(release.version),
        (_, Command::Leave { version, request_id, .. }) => model.time_out(*version, request_id.0),
        (Ask::Size(size), _) => model.resize(*size),
        (Ask::Delete { .. }, Command::DeleteLock { version: Some(version) }) => model.delete(*version),
        (Ask::Delete { .. }, _) => model.delete(v(0)),
        _ => model.serve_queue(),
    }
}

fn model_answer(reply: &Reply) -> ModelAnswer {
    match reply {
        Reply::Granted(view) => {
            let held = view.held.as_ref().unwrap();
            ModelAnswer::Granted {
                version: held.version,
                token: view.fencing_token.0,
                until: held.expires_at.0,
            }
        }
        Reply::Released(_) => ModelAnswer::Released,
        Reply::Lock { .. } | Reply::Semaphore { .. } | Reply::Deleted | Reply::Done => ModelAnswer::Done,
        Reply::Refused(refusal) => match refusal {
            Refusal::NotFound => ModelAnswer::NotFound,
            Refusal::VersionMismatch => ModelAnswer::Mismatch,
            Refusal::LeaseExpired => ModelAnswer::Expired,
            Refusal::InUse(_) => ModelAnswer::InUse,
            Refusal::Superseded => ModelAnswer::Superseded,
            Refusal::PlaceLost => ModelAnswer::Skipped,
            Refusal::NotGranted(not_granted) => ModelAnswer::Busy {
                holders: not_granted.holders.len(),
                waiters: usize::try_from(not_granted.waiters).unwrap(),
                position: not_granted.queue_position.map(|position| usize::try_from(position).unwrap()),
            },
            other => panic!("the model knows no {other:?}"),
        },
    }
}

/// Runs the same steps through the rules and the model.
pub(super) fn agree(is_mutex: bool, asks: &[Ask]) {
    let kind = if is_mutex { Kind::Mutex } else { Kind::Semaphore };
    let (mut scene, mut model) = (Scene::new(), Model::new(is_mutex, START));
    let mut numbers = Numbers::default();
    for (step, ask_for) in asks.iter().enumerate() {
        if let Ask::Pass(ms) = ask_for {
            scene.now += ms;
            model.pass(*ms);
        }
        let Some(command) = command(ask_for, kind, &mut numbers) else { continue };
        let expected = told_by_model(&mut model, ask_for, &command);
        let got = match scene.run(&command) {
            Verdict::Reply(reply) => model_answer(&reply),
            Verdict::Waiting { .. } => ModelAnswer::Waits,
            Verdict::GuardOpen(_) | Verdict::Unknown => panic!("every answer comes"),
        };
        assert_eq!(got, expected, "step {step}, {command:?}");
        let others: Vec<_> =
            scene.effects.0.iter().map(|(request_id, reply)| (request_id.0, model_answer(reply))).collect();
        assert_eq!(others, std::mem::take(&mut model.answered), "step {step}, {command:?}");
        if let (Ask::Acquire { version, .. }, ModelAnswer::Mismatch) = (ask_for, &got) {
            *numbers.rounds.entry(*version).or_insert(0) += 1;
        }
    }
}
