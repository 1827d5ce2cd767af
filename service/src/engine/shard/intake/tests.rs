//! Tests of the intake: which commands a batch gets, and in which order.

use std::sync::Arc;

use super::*;
use crate::{
    domain::{
        Body, Context, Data, Key, KeyChange, KeyState, Kind, LeaveReason, Mutex, Now, RequestId, Version,
    },
    engine::{
        cache::Cache,
        ids,
        key_task::KeyTask,
        pending_request::tests,
        shard::{
            backpressure::BatchRoom, batch::tests::decided_of, guarded_keys::GuardedKeys, in_flight::InFlight,
        },
    },
    store::BatchLimits,
};

fn id(key: &str) -> KeyId {
    KeyId { tenant: Tenant::trusted("t"), key: Key::trusted(key) }
}

fn command(key: &str, command: Command) -> PendingRequest {
    PendingRequest::internal(id(key), command, Instant::now())
}

fn acquire(wait_ms: i64) -> PendingRequest {
    let mut request = tests::acquire(false, None);
    if let Command::Acquire(acquire) = &mut request.command {
        acquire.wait_ms = Some(wait_ms);
    }
    request
}

fn leave(key: &str) -> PendingRequest {
    let (version, request_id) = (Version(uuid::Uuid::nil()), RequestId(0));
    command(key, Command::Leave { version, request_id, reason: LeaveReason::HungUp })
}

/// The number of keys of a batch.
const BATCH: usize = 16;

fn nothing_in_flight() -> InFlight {
    let limits = BatchLimits { keys: BATCH, ..BatchLimits::default() };
    InFlight::new(Instant::now(), limits, GuardedKeys::new(true, Duration::ZERO, Arc::default()))
}

fn gather(intake: &mut Intake) -> Vec<KeyTask> {
    gather_under(intake, Backpressure::of(&nothing_in_flight()))
}

fn gather_under(intake: &mut Intake, backpressure: Backpressure<'_>) -> Vec<KeyTask> {
    gather_with(intake, backpressure, &Cache::new(0, Instant::now()))
}

fn gather_with(intake: &mut Intake, backpressure: Backpressure<'_>, cache: &Cache) -> Vec<KeyTask> {
    let limits = BatchLimits { keys: BATCH, ..BatchLimits::default() };
    intake.gather(BatchRoom { limits, backpressure, cache })
}

fn commands(key_tasks: &[KeyTask]) -> Vec<usize> {
    key_tasks.iter().map(|key_task| key_task.requests.len()).collect()
}

#[tokio::test(start_paused = true)]
async fn commands_of_a_busy_key_wait_in_the_order_of_their_arrival() {
    let mut intake = Intake::default();
    intake.push(command("a", Command::Get(Kind::Mutex)), |_| false);
    assert_eq!(commands(&gather(&mut intake)), [1]);
    tokio::time::advance(Duration::from_millis(1)).await;
    let first = command("a", Command::DeleteSemaphore);
    tokio::time::advance(Duration::from_millis(1)).await;
    intake.push(command("a", Command::DeleteLock { version: None }), |_| false);
    intake.push(first, |_| false);
    assert!(gather(&mut intake).is_empty(), "the key is busy");
    intake.free(&id("a"), |_| false);
    let key_tasks = gather(&mut intake);
    assert_eq!(commands(&key_tasks), [2]);
    assert_eq!(key_tasks[0].requests[0].command, Command::DeleteSemaphore);
}

#[tokio::test(start_paused = true)]
async fn several_commands_to_serve_a_queue_become_one() {
    let mut intake = Intake::default();
    for _ in 0..3 {
        intake.push(command("a", Command::ServeQueue), |_| false);
    }
    assert_eq!(commands(&gather(&mut intake)), [1]);
    intake.push(command("a", Command::ServeQueue), |_| false);
    intake.free(&id("a"), |_| false);
    assert_eq!(commands(&gather(&mut intake)), [1], "it was asked for after the batch was gathered");
}

#[tokio::test(start_paused = true)]
async fn deferred_acquires_start_a_batch_only_after_a_pause() {
    let mut intake = Intake::default();
    intake.push(acquire(60_000), |_| true);
    assert!(gather(&mut intake).is_empty() && !intake.is_empty());
    let until = intake.next_at().expect("the pause ends");
    intake.admit_due(until);
    assert_eq!(commands(&gather(&mut intake)), [1]);
}

#[tokio::test(start_paused = true)]
async fn no_acquire_overtakes_a_deferred_one_of_its_key() {
    let mut intake = Intake::default();
    intake.push(acquire(60_000), |_| true);
    intake.push(acquire(0), |_| true);
    let key_tasks = gather(&mut intake);
    let Command::Acquire(first) = &key_tasks[0].requests[0].command else { panic!("it is an acquire") };
    assert_eq!((commands(&key_tasks), first.wait_ms), (vec![2], Some(60_000)));
}

/// An intake with leaves of more keys than a batch has.
fn with_leaves_of_many_keys() -> Intake {
    let mut intake = Intake::default();
    for number in 0..2 * BATCH {
        intake.push(leave(&number.to_string()), |_| false);
    }
    intake
}

/// Guards that requests of others go on when a client hangs up with thousands of acquires of different keys.
#[tokio::test(start_paused = true)]
async fn leaves_of_very_many_keys_take_several_batches() {
    let mut intake = with_leaves_of_many_keys();
    intake.push(acquire(0), |_| false);
    intake.push(command("urgent", Command::DeleteSemaphore), |_| false);
    let first = gather(&mut intake);
    let has = |is_so: fn(&Command) -> bool| first.iter().any(|task| is_so(&task.requests[0].command));
    assert!(has(|command| matches!(command, Command::DeleteSemaphore)));
    assert!(has(|command| matches!(command, Command::Acquire(_))));
    assert!(first.len() < BATCH, "{}", first.len());
}

/// Guards that a replica with tens of thousands of waiters stops in time.
#[tokio::test(start_paused = true)]
async fn leaves_take_the_whole_room_of_a_batch_while_the_service_stops() {
    let mut intake = with_leaves_of_many_keys();
    assert!(intake.begin_stop().is_empty());
    assert_eq!(gather(&mut intake).len(), BATCH);
}

/// Guards that a flood of heartbeats starves no acquire.
#[tokio::test(start_paused = true)]
async fn urgent_commands_leave_room_for_an_acquire() {
    let mut intake = Intake::default();
    for number in 0..2 * BATCH {
        intake.push(command(&number.to_string(), Command::DeleteSemaphore), |_| false);
    }
    intake.push(acquire(0), |_| false);
    let first = gather(&mut intake);
    let is_acquire = |task: &&KeyTask| matches!(task.requests[0].command, Command::Acquire(_));
    assert_eq!((first.len(), first.iter().filter(is_acquire).count()), (BATCH, 1));
}

/// Tasks of tenant `t`, as many as a batch has, that are decided and wait for a commit.
fn with_waiting_tasks(command: &Command) -> InFlight {
    let mut in_flight = nothing_in_flight();
    for number in 0..BATCH {
        let (write, task) = decided_of("t", &number.to_string(), command.clone());
        in_flight.write(write, task);
    }
    in_flight
}

/// Guards that what was decided before, and is not written yet, takes no room from a heartbeat.
#[tokio::test(start_paused = true)]
async fn urgent_commands_are_gathered_although_a_batch_of_other_tasks_waits_for_a_commit() {
    let mut intake = Intake::default();
    intake.push(command("urgent", Command::DeleteSemaphore), |_| false);
    intake.push(acquire(0), |_| false);
    let in_flight = with_waiting_tasks(&Command::Get(Kind::Mutex));
    let first = gather_under(&mut intake, Backpressure::of(&in_flight));
    assert_eq!(first.iter().map(|task| &task.id).collect::<Vec<_>>(), [&id("urgent")]);
}

/// Guards that one tenant whose writes take long delays nobody else, and that a shard does not become busy with commands
/// that have to stay.
#[tokio::test(start_paused = true)]
async fn commands_of_a_tenant_stay_while_a_batch_of_its_tasks_waits_for_a_commit() {
    let mut intake = Intake::default();
    intake.push(command("urgent", Command::DeleteSemaphore), |_| false);
    let in_flight = with_waiting_tasks(&Command::DeleteSemaphore);
    let backpressure = Backpressure::of(&in_flight);
    assert_eq!(
        (intake.waiting(backpressure), intake.waiting(Backpressure::of(&nothing_in_flight()))),
        (0, 1)
    );
    assert!(gather_under(&mut intake, backpressure).is_empty());
    let other = KeyId { tenant: Tenant::trusted("other"), key: Key::trusted("urgent") };
    let request = PendingRequest::internal(other.clone(), Command::DeleteSemaphore, Instant::now());
    intake.push(request, |_| false);
    assert_eq!(intake.waiting(backpressure), 1);
    let first = gather_under(&mut intake, backpressure);
    assert_eq!(first.iter().map(|task| &task.id).collect::<Vec<_>>(), [&other]);
    assert_eq!(gather(&mut intake).len(), 1, "nothing is lost");
}

/// Guards that heartbeats of locks with much data, which their writes repeat, do not make a batch that takes very long.
#[tokio::test(start_paused = true)]
async fn writes_that_repeat_much_data_are_gathered_in_part_and_leave_room_for_an_acquire() {
    let mut intake = Intake::default();
    let mut cache = Cache::new(8 * BatchLimits::default().bytes, Instant::now());
    for number in 0..BATCH {
        let data = Some(Data::trusted(&"x".repeat(BatchLimits::default().bytes / 4)));
        let mut state = KeyState::absent();
        state.body = Body::Mutex(Mutex { data, ..Mutex::default() });
        cache.put(id(&number.to_string()), state.into(), Instant::now());
        intake.push(command(&number.to_string(), Command::DeleteSemaphore), |_| false);
    }
    intake.push(acquire(0), |_| false);
    let sizes: Vec<_> = (0..2)
        .map(|_| gather_with(&mut intake, Backpressure::of(&nothing_in_flight()), &cache).len())
        .collect();
    assert_eq!(sizes, [4, 4], "three urgent commands and an acquire, then four urgent commands");
}

/// A cache with semaphore "a", of which a permit has a quarter of the bytes of a batch.
fn with_a_large_permit() -> Cache {
    let mut cache = Cache::new(8 * BatchLimits::default().bytes, Instant::now());
    let ctx = Context::alone(Now::exactly(1_000));
    let mut change = KeyChange::new(id("a"), KeyState::absent());
    let put = Command::PutSemaphore { max_size: 9, lease_ms: None, default_lease_ms: 15_000, guarded: None };
    change.decide(&put, &ctx).expect("it needs no load");
    let mut first = tests::acquire(false, None).command;
    if let Command::Acquire(acquire) = &mut first {
        acquire.data = Some(Data::trusted(&"x".repeat(BatchLimits::default().bytes / 4)));
    }
    change.state.row_version = Some(ids::row_version());
    let mut change = KeyChange::new(id("a"), change.state);
    change.decide(&first, &ctx).expect("there is a free permit");
    cache.put(id("a"), change.state, Instant::now());
    cache
}

/// Guards that a semaphore's permits with much data are not decided in vain: one write does not take very many of them.
#[tokio::test(start_paused = true)]
async fn commands_of_a_semaphore_with_much_data_are_gathered_in_part() {
    let mut intake = Intake::default();
    let cache = with_a_large_permit();
    for _ in 0..BATCH {
        intake.push(command("a", Command::DeleteSemaphore), |_| false);
    }
    let gathered = gather_with(&mut intake, Backpressure::of(&nothing_in_flight()), &cache);
    assert_eq!(commands(&gathered), [4]);
}

/// Guards that waiters of a semaphore with much data, which write none of it when they leave, keep no acquire waiting.
#[tokio::test(start_paused = true)]
async fn leaves_do_not_count_as_much_as_permits() {
    let mut intake = Intake::default();
    for number in 0..8 {
        intake.push(leave("a"), |_| false);
        intake.push(PendingRequest { id: id(&number.to_string()), ..acquire(0) }, |_| false);
    }
    let in_flight = nothing_in_flight();
    let gathered = gather_with(&mut intake, Backpressure::of(&in_flight), &with_a_large_permit());
    assert_eq!(commands(&gathered), [8, 1, 1, 1, 1, 1, 1, 1, 1]);
}

/// Guards that a kept grant outlives the service: its caller may repeat the request at another replica.
#[tokio::test(start_paused = true)]
async fn only_refused_commands_are_carried_out_before_the_service_stops() {
    let mut intake = Intake::default();
    intake.give_back_later(id("kept"), Command::ServeQueue);
    intake.push_refused(Instant::now(), command("refused", Command::ServeQueue));
    let refused: Vec<_> = intake.begin_stop().into_iter().map(|request| request.id).collect();
    assert_eq!((refused, intake.next_at()), (vec![id("refused")], None));
}
