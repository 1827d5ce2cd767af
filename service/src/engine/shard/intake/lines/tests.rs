use super::*;
use crate::domain::{Command, Key, KeyId};

fn tenant(name: &str) -> Tenant {
    Tenant::trusted(name)
}

fn request(tenant: &str) -> PendingRequest {
    let id = KeyId { tenant: Tenant::trusted(tenant), key: Key::trusted("a") };
    PendingRequest::internal(id, Command::ServeQueue, Instant::now())
}

fn lines(tenants: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for tenant in tenants {
        lines.push_back(request(tenant));
    }
    lines
}

fn take(lines: &mut Lines, count: usize) -> Vec<String> {
    let now = Instant::now();
    let taken = std::iter::from_fn(|| lines.pop_front(now, |_| false)).take(count);
    taken.map(|request| request.id.tenant.as_str().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_and_the_commands_of_one_keep_their_order() {
    let mut lines = lines(&["a", "a", "a", "b", "c", "c"]);
    assert_eq!(take(&mut lines, 4), ["a", "b", "c", "a"]);
    lines.push_back(request("b"));
    assert_eq!((take(&mut lines, 9), lines.is_empty()), (["c", "a", "b"].map(str::to_owned).to_vec(), true));
}

#[tokio::test(start_paused = true)]
async fn the_pace_of_a_backlogged_line_tells_how_long_a_command_would_wait() {
    let mut lines = lines(&["a"; 100]);
    let would_wait = |lines: &Lines, name| lines.would_wait(&tenant(name), Instant::now());
    take(&mut lines, 10);
    assert_eq!(would_wait(&lines, "a"), None, "there was one batch only");
    tokio::time::advance(Duration::from_millis(100)).await;
    take(&mut lines, 10);
    assert_eq!(would_wait(&lines, "a"), Some(Duration::from_millis(800)), "80 are left, one each 10 ms");
    assert_eq!(would_wait(&lines, "b"), None, "another tenant waits for its turn only");
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(would_wait(&lines, "a"), Some(Duration::from_secs(4)), "it has slowed down");
    take(&mut lines, 80);
    lines.push_back(request("a"));
    assert_eq!(would_wait(&lines, "a"), None, "it does not stand any more");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_without_commands_has_no_turn() {
    let mut lines = lines(&["a", "b", "b"]);
    lines.retain(|request| request.id.tenant.as_str() == "b");
    assert_eq!((lines.len(), take(&mut lines, 3)), (2, ["b", "b"].map(str::to_owned).to_vec()));
}

/// Guards against memory that grows with the number of tenants ever seen.
#[tokio::test(start_paused = true)]
async fn empty_lines_are_forgotten() {
    let mut lines = lines(&["stays"]);
    for number in 0..10_000 {
        lines.push_back(request(&number.to_string()));
        lines.push_back(request("stays"));
        take(&mut lines, 2);
    }
    assert!(lines.all.len() <= MOST_KEPT && lines.by_tenant.len() == lines.all.len());
    assert_eq!(take(&mut lines, 2), ["stays"]);
}
