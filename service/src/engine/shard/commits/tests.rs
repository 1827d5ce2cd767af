//! Tests of the commits of a shard.

use super::{
    super::batch::tests::{decided, decided_command, decided_of},
    *,
};
use crate::domain::{Body, Command, Data, Kind, Mutex};

const LIMITS: BatchLimits = BatchLimits { under_way: 2, keys: 64, bytes: 64 << 10, loses_as_a_whole: true };

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

/// Guards that a tenant whose keys are written at two replicas delays nobody else, where one lost race costs a whole batch.
#[tokio::test(start_paused = true)]
async fn keys_that_lost_a_race_have_batches_of_their_own_one_at_a_time() {
    let mut commits = commits();
    let push = |commits: &mut Commits, key: &str| {
        let (write, task) = decided(key);
        commits.push(write, task);
    };
    let next = |commits: &mut Commits| {
        let Batch { writes, tasks } = commits.next_batch()?;
        let number = commits.take_number();
        commits.note_sent(number, tasks, Instant::now());
        let key = |write: &Write| write.change.id.key.as_str().to_owned();
        Some((number, writes.iter().map(key).collect::<Vec<_>>()))
    };
    for key in ["lost", "also"] {
        commits.note_lost_race(&decided(key).1.key_task.id, Instant::now());
        push(&mut commits, key);
    }
    push(&mut commits, "a");
    let (contested, keys) = next(&mut commits).expect("contested keys wait");
    assert_eq!(keys, ["also", "lost"]);
    push(&mut commits, "lost");
    let (ordinary, keys) = next(&mut commits).expect("another key waits");
    assert_eq!(keys, ["a"]);
    commits.take(ordinary);
    assert!(next(&mut commits).is_none() && !commits.may_send(0), "one of contested keys is under way");
    commits.take(contested);
    push(&mut commits, "b");
    let batches = [next(&mut commits), next(&mut commits)].map(|batch| batch.expect("keys wait").1);
    assert_eq!(batches, [["b"], ["lost"]]);
    tokio::time::advance(Duration::from_secs(11)).await;
    commits.note_sent(100, Vec::new(), Instant::now());
    for key in ["c", "lost"] {
        push(&mut commits, key);
    }
    assert_eq!(next(&mut commits).expect("keys wait").1, ["c", "lost"], "it is an ordinary key again");
}

/// Guards that a heartbeat of a key that two replicas write does not wait for the acquires of such keys.
#[tokio::test(start_paused = true)]
async fn of_contested_keys_the_urgent_ones_go_first() {
    let mut commits = commits();
    let others = (0..2 * MOST_CONTESTED).map(|number| (number.to_string(), Command::Get(Kind::Mutex)));
    for (key, command) in others.chain([("urgent".to_owned(), Command::DeleteSemaphore)]) {
        let (write, task) = decided_command(&key, command);
        commits.note_lost_race(&task.key_task.id, Instant::now());
        commits.push(write, task);
    }
    let batch = commits.next_batch().expect("contested keys wait");
    assert!(batch.tasks.iter().any(|task| task.key_task.is_urgent()) && batch.tasks.len() == MOST_CONTESTED);
}
