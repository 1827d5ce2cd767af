//! Tests of the decision on the commands of a key.

use super::*;
use crate::{
    domain::{Data, Key, Now, Tenant},
    engine::pending_request::{ReplySender, tests::acquire},
};

/// Room for any number of waiters.
fn unlimited() -> Arc<WaiterCount> {
    Arc::new(WaiterCount::new(usize::MAX, usize::MAX))
}

/// Guards against two needs that alternate without end.
#[test]
fn needs_add_up_over_several_loads() {
    let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
    let mut key_task =
        KeyTask::new(PendingRequest::internal(id, Command::ServeQueue, tokio::time::Instant::now()));
    key_task.needs = vec![Need::QueuePrefix(500), Need::Permits(300), Need::QueuePrefix(100)];
    let load_request = key_task.load_request();
    assert!(load_request.queue_prefix >= 500 && load_request.permits >= 300);
}

/// Guards that other keys do not wait while one write repeats the data of very many permits.
#[tokio::test(start_paused = true)]
async fn commands_whose_change_would_be_too_large_stay_in_the_task() {
    let ctx = Context::alone(Now::exactly(1_000));
    let first = acquire(false, None);
    let mut change = KeyChange::new(first.id.clone(), KeyState::absent());
    let put =
        Command::PutSemaphore { max_size: 100, lease_ms: None, default_lease_ms: 15_000, guarded: None };
    change.decide(&put, &ctx).expect("it needs no load");
    change.state.row_version = Some(ids::row_version());
    let mut key_task = KeyTask::new(first);
    key_task.requests.extend((1..100).map(|_| acquire(false, None)));
    for request in &mut key_task.requests {
        let Command::Acquire(acquire) = &mut request.command else { panic!("it is an acquire") };
        acquire.data = Some(Data::trusted(&"x".repeat(10_000)));
    }
    let outcome = key_task.decide(change.state, true, &ctx, &unlimited());
    let TaskOutcome::Write { verdicts, write, .. } = outcome else { panic!("permits are to be written") };
    assert!(write.change.is_full() && (10..15).contains(&verdicts.len()), "{}", verdicts.len());
    assert_eq!(key_task.requests.len(), 100);
}

/// Guards invariant 7: an attempt that turns out to have been applied has a command for each of its verdicts.
#[tokio::test(start_paused = true)]
async fn commands_after_the_decided_ones_stay_in_the_task() {
    let acquire = acquire(false, None);
    let put = Command::PutSemaphore { max_size: 2, lease_ms: None, default_lease_ms: 15_000, guarded: None };
    let mut key_task = KeyTask::new(PendingRequest::internal(acquire.id.clone(), put, acquire.arrived));
    key_task.requests.push(acquire);
    let ctx = Context::alone(Now::exactly(1_000));
    let outcome = key_task.decide(KeyState::absent().into(), true, &ctx, &unlimited());
    let TaskOutcome::Write { verdicts, .. } = outcome else { panic!("the semaphore is to be written") };
    assert_eq!((verdicts.len(), key_task.requests.len()), (1, 2), "its permit needs the row's token");
}

/// A copy without callers records the end of a grant as the task would: only if the caller of the release still waits.
#[tokio::test(start_paused = true)]
async fn a_copy_knows_whose_caller_waits() {
    for waits in [true, false] {
        let (reply, caller) = ReplySender::new(None);
        let mut key_task = KeyTask::new(acquire(false, Some(reply)));
        if !waits {
            drop(caller);
        }
        assert_eq!(key_task.without_callers().is_waited_for(0), waits);
    }
}
