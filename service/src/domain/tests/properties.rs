//! Random commands and time steps: the rules against the naive model, on whole and on bounded views.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    fixtures::{START, Scene, ask, beat, data, release, v},
    model::{Ask, Model, ModelAnswer},
};
use crate::domain::{
    Acquire, Body, BusyCount, Command, Decided, Heartbeat, Holder, KeyChange, KeyState, Kind, LeaveReason,
    Need, Now, Owner, Queue, Refusal, Reply, RequestId, Timestamp, Verdict, Version,
};

/// The steps of a case and the number of cases: 120,000 steps over the two properties.
const STEPS: usize = 300;
const CASES: u32 = 200;

fn asks() -> impl Strategy<Value = Ask> {
    let version = 1_u16..14;
    prop_oneof![
        8 => (version.clone(), prop::bool::weighted(0.05), 1_i64..400, any::<bool>()).prop_map(
            |(version, stranger, lease, waits)| {
                let owner = if stranger { 99 } else { version };
                Ask::Acquire { version, owner, chosen: true, lease, waits }
            }
        ),
        2 => (version.clone(), prop::option::of(1_i64..400))
            .prop_map(|(version, lease)| Ask::Heartbeat { version, lease }),
        5 => version.clone().prop_map(|version| Ask::Release { version }),
        2 => version.clone().prop_map(|version| Ask::TimeOut { version }),
        1 => (1_usize..5).prop_map(Ask::Size),
        1 => version.prop_map(|version| Ask::Delete { version }),
        3 => Just(Ask::ServeQueue),
        5 => (0_i64..150).prop_map(Ask::Pass),
    ]
}

/// The version that each number uses at present. A number changes its version now and then, so that not every acquire
/// is a repeat.
struct Numbers {
    rounds: BTreeMap<u16, u16>,
    next_request_id: i64,
    request_ids: BTreeMap<Version, i64>,
}

impl Numbers {
    fn version(&self, number: u16) -> u16 {
        number + 20 * self.rounds.get(&number).copied().unwrap_or(0)
    }
}

fn command(ask_for: &Ask, kind: Kind, numbers: &mut Numbers) -> Option<Command> {
    Some(match *ask_for {
        Ask::Acquire { version, owner, chosen, lease, waits } => {
            numbers.next_request_id += 1;
            let number = numbers.version(version);
            numbers.request_ids.insert(v(number.into()), numbers.next_request_id);
            Command::Acquire(Acquire {
                kind,
                owner: Owner::new(&format!("owner {owner}")).unwrap(),
                lease_ms: Some(lease),
                wait_ms: Some(if waits { 1_000 } else { 0 }),
                chosen,
                request_id: RequestId(numbers.next_request_id),
                data: Some(data("text")),
                ..ask(number)
            })
        }
        Ask::Heartbeat { version, lease } => {
            Command::Heartbeat(Heartbeat { kind, lease_ms: lease, ..beat(numbers.version(version)) })
        }
        Ask::Release { version } => release(numbers.version(version)),
        Ask::TimeOut { version } => {
            let version = v(numbers.version(version).into());
            let request_id = RequestId(numbers.request_ids.get(&version).copied()?);
            Command::Leave { version, request_id, reason: LeaveReason::TimedOut }
        }
        Ask::Size(_) if kind == Kind::Mutex => return None,
        Ask::Size(size) => Command::PutSemaphore {
            max_size: i32::try_from(size).unwrap(),
            lease_ms: None,
            default_lease_ms: crate::domain::DEFAULT_LEASE_MS,
            guarded: None,
        },
        Ask::Delete { version } if kind == Kind::Mutex => {
            Command::DeleteLock { version: Some(v(numbers.version(version).into())) }
        }
        Ask::Delete { .. } => Command::DeleteSemaphore,
        Ask::ServeQueue => Command::ServeQueue,
        Ask::Pass(_) => return None,
    })
}

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
fn agree(is_mutex: bool, asks: &[Ask]) {
    let kind = if is_mutex { Kind::Mutex } else { Kind::Semaphore };
    let (mut scene, mut model) = (Scene::new(), Model::new(is_mutex, START));
    let mut numbers = Numbers { rounds: BTreeMap::new(), next_request_id: 0, request_ids: BTreeMap::new() };
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

/// What a decision asked for.
#[derive(Default)]
struct More {
    queue_prefix: usize,
    permits: usize,
    data_of: Vec<Version>,
}

/// The bounded view that a store would load.
fn bounded(whole: &KeyState, bound: usize, command: &Command, more: &More, now: i64) -> KeyState {
    let mut state = whole.clone();
    let named: Vec<_> = command.named_version().into_iter().collect();
    let head: std::collections::VecDeque<_> =
        whole.queue.head.iter().take(bound.max(more.queue_prefix)).cloned().collect();
    let behind = whole.queue.head.iter().enumerate().skip(head.len());
    let behind = behind.filter(|(_, waiter)| named.contains(&waiter.holder.version));
    let behind = behind.map(|(before, waiter)| (waiter.clone(), i64::try_from(before).ok())).collect();
    state.queue = Queue { head, named: behind, asked: named.clone(), ..whole.queue.clone() };
    state.queue.leave_data_unread(&more.data_of);
    if let Body::Semaphore(semaphore) = &mut state.body {
        let permits = &mut semaphore.permits;
        let busy = permits.known.iter().filter(|permit| permit.grant.is_active(Now::exactly(now))).count();
        permits.known.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
        let limit = bound.max(more.permits);
        if permits.known.len() >= limit {
            permits.unknown_from = permits.known.get(limit - 1).map(|permit| permit.grant.expires_at);
            let all = permits.known.clone();
            let rest = permits.known.split_off(limit);
            permits.known.extend(rest.into_iter().filter(|permit| named.contains(&permit.grant.version)));
            if *command == Command::DeleteSemaphore {
                permits.add_latest_chosen(&all);
            }
        }
        permits.asked = named;
        let busy = i32::try_from(busy).unwrap();
        permits.busy_counted = Some(BusyCount { busy, at: Timestamp(now) });
    }
    state
}

/// Decides on growing views until one is large enough.
fn decide_bounded(scene: &Scene, command: &Command, bound: usize) -> (Decided, KeyChange) {
    let mut more = More::default();
    for _ in 0..40 {
        let state = bounded(&scene.state, bound, command, &more, scene.now);
        let (decided, change) = Scene { state, ..scene.clone() }.decide(command);
        match decided {
            Err(Need::QueuePrefix(queue_prefix)) => more.queue_prefix = more.queue_prefix.max(queue_prefix),
            Err(Need::Permits(permits)) => more.permits = more.permits.max(permits) * 2,
            Err(Need::Data(versions)) => more.data_of.extend(versions),
            Err(need @ (Need::Version(_) | Need::Membership)) => panic!("needs {need:?} although it has it"),
            Ok(_) | Err(Need::NextBatch) => return (decided, change),
        }
    }
    panic!("no view is enough for {command:?}");
}

/// Checks that bounded views give the same answers as whole ones.
fn views_agree(is_mutex: bool, bound: usize, asks: &[Ask]) {
    let kind = if is_mutex { Kind::Mutex } else { Kind::Semaphore };
    let mut scene = Scene::new();
    let mut numbers = Numbers { rounds: BTreeMap::new(), next_request_id: 0, request_ids: BTreeMap::new() };
    for (step, ask_for) in asks.iter().enumerate() {
        if let Ask::Pass(ms) = ask_for {
            scene.now += ms;
        }
        let Some(command) = command(ask_for, kind, &mut numbers) else { continue };
        let (decided, change) = decide_bounded(&scene, &command, bound);
        let verdict = scene.run(&command);
        let (answered, all) = (&change.effects.answered, &scene.effects.0);
        assert!(all.starts_with(answered), "step {step}: a part of the queue is served from its front");
        assert!(
            change.effects.unfinished || answered == all,
            "step {step}: the rest of the queue is not served"
        );
        match decided {
            Ok(Verdict::Waiting { .. }) if change.effects.unfinished => {}
            Ok(decided) => {
                let known = KnownParts::of(&change);
                let (some, all) = (known.comparable(decided), known.comparable(verdict.clone()));
                assert_eq!(some, all, "step {step}, {command:?}");
            }
            Err(need) => assert!(change.effects.unfinished, "step {step}: {need:?} without progress"),
        }
        if let (Ask::Acquire { version, .. }, Verdict::Reply(Reply::Refused(Refusal::VersionMismatch))) =
            (ask_for, &verdict)
        {
            *numbers.rounds.entry(*version).or_insert(0) += 1;
        }
    }
}

/// The parts of a verdict that a bounded view can know.
struct KnownParts {
    /// Known are holders whose leases end before this time; `None` is all.
    holders_until: Option<Timestamp>,
    /// Whether the numbers of waiters and holders are known, because the queue was served to its end.
    counts: bool,
}

impl KnownParts {
    fn of(change: &KeyChange) -> Self {
        let holders_until = match &change.state.body {
            Body::Semaphore(semaphore) => semaphore.permits.unknown_from,
            Body::Absent | Body::Mutex(_) => None,
        };
        Self { holders_until, counts: !change.effects.unfinished }
    }

    /// The verdict without the parts that the view cannot know.
    fn comparable(&self, mut verdict: Verdict) -> Verdict {
        match &mut verdict {
            Verdict::Reply(Reply::Refused(Refusal::InUse(holders))) => self.keep_known(holders),
            Verdict::Reply(Reply::Refused(Refusal::NotGranted(not_granted))) => {
                self.keep_known(&mut not_granted.holders);
            }
            Verdict::Reply(Reply::Semaphore { view, .. }) if !self.counts => {
                (view.busy_count, view.waiters) = (0, 0);
            }
            Verdict::Reply(_) | Verdict::Waiting { .. } | Verdict::GuardOpen(_) | Verdict::Unknown => {}
        }
        verdict
    }

    fn keep_known(&self, holders: &mut Vec<Holder>) {
        holders.retain(|holder| self.holders_until.is_none_or(|until| holder.expires_at < until));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariants 1, 2, 4, 5, 6 and 9, as far as one replica goes.
    #[test]
    fn the_rules_agree_with_a_naive_model(is_mutex: bool, asks in prop::collection::vec(asks(), STEPS)) {
        agree(is_mutex, &asks);
    }

    /// Invariant 10: an answer does not depend on how much was loaded.
    #[test]
    fn a_bounded_view_answers_as_a_whole_one(
        is_mutex: bool,
        bound in 1_usize..6,
        asks in prop::collection::vec(asks(), STEPS),
    ) {
        views_agree(is_mutex, bound, &asks);
    }
}
