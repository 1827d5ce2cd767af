//! Bounded views beside whole ones.

use super::{Numbers, command};
use crate::domain::{
    Body, BusyCount, Command, Decided, Holder, KeyChange, KeyState, Kind, Need, Now, Queue, Refusal, Reply,
    Timestamp, Verdict, Version,
    tests::{fixtures::Scene, model::Ask},
};

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
    if let Body::Semaphore(semaphore) = &mut state.body
        // All permits of a guarded semaphore are loaded.
        && !semaphore.guarded
    {
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
pub(super) fn views_agree(is_mutex: bool, bound: usize, asks: &[Ask]) {
    let kind = if is_mutex { Kind::Mutex } else { Kind::Semaphore };
    let mut scene = Scene::new();
    let mut numbers = Numbers { guarded: Some(13), ..Numbers::default() };
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
    /// Whether the numbers of waiters and holders, and the guard, are known, because the queue was served to its end.
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
                (view.busy_count, view.waiters, view.guarded) = (0, 0, false);
            }
            Verdict::Reply(_) | Verdict::Waiting { .. } | Verdict::GuardOpen(_) | Verdict::Unknown => {}
        }
        verdict
    }

    fn keep_known(&self, holders: &mut Vec<Holder>) {
        holders.retain(|holder| self.holders_until.is_none_or(|until| holder.expires_at < until));
    }
}
