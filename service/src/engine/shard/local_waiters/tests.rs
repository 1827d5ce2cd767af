use super::*;
use crate::{
    domain::RequestFlags,
    engine::{ids, pending_request::tests::acquire},
};

/// Adds a waiter with a deadline in 1 s.
fn wait(waiters: &mut LocalWaiters) -> (RequestId, KeyId) {
    let (reply, _) = ReplySender::new(None);
    let (request_id, request) = (ids::request_id(RequestFlags::default()), acquire(false, Some(reply)));
    let id = request.id.clone();
    waiters.insert(request_id, request, ids::version(), false, Instant::now() + Duration::from_secs(1));
    (request_id, id)
}

fn check(found: &[(RequestId, KeyId)]) -> WaiterCheck {
    let row = |id: &KeyId| WaitingRow {
        id: id.clone(),
        request_id: ids::request_id(RequestFlags::default()),
        version: ids::version(),
    };
    let found = found.iter().map(|(request_id, id)| (*request_id, row(id))).collect();
    WaiterCheck { found, asked: Instant::now() }
}

fn leave(waiters: &mut LocalWaiters, request_id: RequestId, reason: LeaveReason) -> bool {
    waiters.leave(request_id, reason, Instant::now()).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_waiter_leaves_once_and_one_that_seemed_missing_can_still_leave() {
    let mut waiters = LocalWaiters::default();
    let (request_id, _) = wait(&mut waiters);
    assert!(leave(&mut waiters, request_id, LeaveReason::Missing));
    assert!(!leave(&mut waiters, request_id, LeaveReason::Missing));
    assert!(leave(&mut waiters, request_id, LeaveReason::TimedOut));
    waiters.note_found(request_id);
    assert!(!leave(&mut waiters, request_id, LeaveReason::HungUp), "it is leaving");
}

#[tokio::test(start_paused = true)]
async fn only_a_waiter_that_was_not_answered_reaches_its_deadline() {
    let mut waiters = LocalWaiters::default();
    let [(waits, id), (answered, _), (removed, _)] = [(); 3].map(|()| wait(&mut waiters));
    waiters.fail(answered, Unavailable::ShuttingDown);
    assert!(waiters.remove(removed).is_some() && waiters.has_key(&id));
    let now = waiters.next_at().expect("there are deadlines");
    let due: Vec<_> = std::iter::from_fn(|| waiters.pop_due(now)).map(|due| due.request_id).collect();
    assert_eq!(due, [waits]);
    waiters.remove(waits);
    waiters.remove(answered);
    assert!(waiters.is_empty() && !waiters.has_key(&id));
}

#[tokio::test(start_paused = true)]
async fn an_audit_misses_old_waiters_only() {
    let mut waiters = LocalWaiters::default();
    let (old, id) = wait(&mut waiters);
    tokio::time::advance(CHECKED_FROM * 2).await;
    wait(&mut waiters);
    assert_eq!(waiters.without_row(&check(&[])), [old]);
    assert!(waiters.without_row(&check(&[(old, id)])).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_row_is_an_orphan_when_two_audits_find_it_and_its_key_is_not_busy() {
    let mut waiters = LocalWaiters::default();
    let (waiting, id) = wait(&mut waiters);
    let orphan = ids::request_id(RequestFlags::default());
    let check = check(&[(waiting, id.clone()), (orphan, id)]);
    assert!(waiters.orphans(&check, |_| false).is_empty());
    let found: Vec<_> =
        waiters.orphans(&check, |_| false).into_iter().map(|(request_id, _)| request_id).collect();
    assert_eq!(found, [orphan]);
    assert!(waiters.orphans(&check, |_| true).is_empty());
}
