//! Tests of the commits of a shard.

use super::{
    super::batch::tests::{decided, decided_command, decided_of},
    *,
};
use crate::domain::{Body, Command, Data, Kind, Mutex};

const LIMITS: BatchLimits = BatchLimits { under_way: 2, keys: 64, bytes: 64 << 10 };

fn commits() -> Commits {
    Commits::new(BatchLimits { keys: 4, ..LIMITS }, Instant::now())
}

/// Sends a batch of these keys.
fn send(commits: &mut Commits, keys: &[&str]) -> u64 {
    let number = commits.take_number();
    let tasks = keys.iter().map(|key| decided(key).1).collect();
    commits.note_sent(number, tasks, Instant::now());
    number
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_batch_are_sorted() {
    let mut commits = commits();
    for key in ["b", "c", "a"] {
        let (write, task) = decided(key);
        commits.push(write, task);
    }
    let batch = commits.next_batch().expect("three tasks are ready");
    let keys: Vec<_> = batch.writes.iter().map(|write| write.change.id.key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert!(batch.writes.iter().zip(&batch.tasks).all(|(write, task)| write.change.id == task.key_task.id));
    assert!(commits.next_batch().is_none());
}

/// Guards that a heartbeat does not wait until all that was decided before it is written.
#[tokio::test(start_paused = true)]
async fn urgent_tasks_are_written_first() {
    let mut commits = commits();
    let reads = (0..4).map(|number| decided_command(&number.to_string(), Command::Get(Kind::Mutex)));
    for (write, task) in reads.chain([decided_command("urgent", Command::DeleteSemaphore)]) {
        commits.push(write, task);
    }
    let batch = commits.next_batch().expect("tasks are ready");
    let is_urgent = |task: &DecidedTask| task.key_task.is_urgent();
    assert_eq!((batch.tasks.len(), batch.tasks.iter().filter(|task| is_urgent(task)).count()), (4, 1));
}

/// A decided task of a key with so many bytes of data.
fn large(tenant: &str, key: &str, command: Command, bytes: usize) -> (Write, DecidedTask) {
    let (mut write, task) = decided_of(tenant, key, command);
    let data = Some(Data::trusted(&"x".repeat(bytes)));
    write.change.state.body = Body::Mutex(Mutex { data, ..Mutex::default() });
    (write, task)
}

/// Guards that heartbeats of locks with much data delay no heartbeat of another tenant.
#[tokio::test(start_paused = true)]
async fn a_batch_ends_where_its_writes_are_large_and_has_tasks_of_each_kind_and_tenant() {
    let mut commits = Commits::new(LIMITS, Instant::now());
    for number in 0..16 {
        let (write, task) = large("t", &number.to_string(), Command::DeleteSemaphore, LIMITS.bytes / 8);
        commits.push(write, task);
    }
    let (write, task) = large("t", "other", Command::Get(Kind::Mutex), LIMITS.bytes);
    commits.push(write, task);
    let (write, task) = decided_of("u", "small", Command::DeleteSemaphore);
    commits.push(write, task);
    let mut sizes = Vec::new();
    while let Some(batch) = commits.next_batch() {
        let has = |key: &str| batch.writes.iter().any(|write| write.change.id.key.as_str() == key);
        sizes.push((batch.writes.len(), has("small"), has("other")));
    }
    assert_eq!(sizes, [(8, true, true), (8, false, false), (2, false, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_second_commit_needs_as_many_commands_as_the_first_or_a_slow_one() {
    let mut commits = commits();
    assert!(commits.may_send(1));
    let first = send(&mut commits, &["a", "b"]);
    assert!(!commits.may_send(1) && commits.may_send(2));
    assert_eq!(commits.slow_at(1), Some(Instant::now() + SLOW_COMMIT));
    assert_eq!(commits.slow_at(0), None, "there is nothing to send");
    tokio::time::advance(SLOW_COMMIT).await;
    assert!(commits.may_send(1));
    send(&mut commits, &["c"]);
    assert!(!commits.may_send(100), "two are under way");
    assert_eq!(commits.take(first).map(|tasks| tasks.len()), Some(2));
    assert!(commits.may_send(1) && !commits.is_idle());
}

#[tokio::test(start_paused = true)]
async fn three_commits_are_under_way_where_the_store_wants_three() {
    let mut commits = Commits::new(BatchLimits { under_way: 3, ..LIMITS }, Instant::now());
    send(&mut commits, &["a"]);
    send(&mut commits, &["b"]);
    assert!(commits.may_send(1));
    send(&mut commits, &["c"]);
    assert!(!commits.may_send(100), "three are under way");
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_is_sent_again_in_halves() {
    let mut commits = commits();
    let batch = Batch::new(["a", "b", "c"].map(decided).into());
    commits.send_halves(batch.expect("three tasks are ready"));
    let sizes: Vec<_> = std::iter::from_fn(|| commits.next_half()).map(|half| half.writes.len()).collect();
    assert_eq!(sizes, [1, 2]);
}
