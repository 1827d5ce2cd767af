use tokio::time::Instant;

use super::*;
use crate::{
    domain::{Command, Key, Kind, Tenant},
    engine::pending_request::PendingRequest,
};

fn key_task(key: &str, command: Command) -> KeyTask {
    task_of("t", key, command)
}

fn task_of(tenant: &str, key: &str, command: Command) -> KeyTask {
    let id = KeyId { tenant: Tenant::trusted(tenant), key: Key::trusted(key) };
    KeyTask::new(PendingRequest::internal(id, command, Instant::now()))
}

fn keys(load_requests: Option<Vec<LoadRequest>>) -> Vec<String> {
    let requests = load_requests.into_iter().flatten();
    requests.map(|request| request.id.key.as_str().to_owned()).collect()
}

/// Guards that no lease ends because its heartbeat waits behind thousands of acquires.
#[tokio::test]
async fn urgent_tasks_are_loaded_first_and_one_short_load_is_under_way_at_a_time() {
    let mut loads = Loads::default();
    loads.push(key_task("get", Command::Get(Kind::Mutex)));
    loads.push(key_task("serve", Command::ServeQueue));
    assert_eq!(keys(loads.begin(LoadKind::Short)), ["serve", "get"]);
    loads.push(key_task("next", Command::ServeQueue));
    assert!(loads.begin(LoadKind::Short).is_none(), "a load is under way");
    assert_eq!(loads.end(LoadKind::Short).len(), 2);
    assert_eq!(keys(loads.begin(LoadKind::Short)), ["next"]);
}

/// Guards that commands that are not urgent have a part of the rows of a load, although there are more urgent ones.
#[tokio::test]
async fn a_quarter_of_the_first_tasks_is_not_urgent() {
    let mut loads = Loads::default();
    for number in 0..9 {
        loads.push(key_task(&format!("u{number}"), Command::ServeQueue));
    }
    for number in 0..4 {
        loads.push(key_task(&format!("g{number}"), Command::Get(Kind::Mutex)));
    }
    let all = ["u0", "u1", "u2", "g0", "u3", "u4", "u5", "g1", "u6", "u7", "u8", "g2", "g3"];
    assert_eq!(keys(loads.begin(LoadKind::Short)), all);
}

/// Guards that commands that are not urgent are loaded, although one urgent one fills each load.
#[tokio::test]
async fn every_second_load_begins_with_a_task_that_is_not_urgent() {
    let mut loads = Loads::default();
    let first_keys = (0..4).map(|number| {
        loads.push(key_task(&format!("urgent{number}"), Command::ServeQueue));
        loads.push(key_task(&format!("get{number}"), Command::Get(Kind::Mutex)));
        let first = keys(loads.begin(LoadKind::Short)).remove(0);
        let left = loads.end(LoadKind::Short).split_off(1);
        loads.push_first(left);
        first
    });
    assert_eq!(first_keys.collect::<Vec<_>>(), ["urgent0", "get0", "urgent1", "get1"]);
}

/// Guards that a tenant whose semaphores have thousands of permits delays no heartbeat of another.
#[tokio::test]
async fn long_loads_delay_no_short_ones_and_their_tenants_take_turns() {
    let mut loads = Loads::default();
    let long = |tenant: &str, key: &str| {
        let mut key_task = task_of(tenant, key, Command::ServeQueue);
        key_task.load_kind = LoadKind::Long;
        key_task
    };
    for number in 0..2 * MOST_LONG {
        loads.push(long("t", &format!("many{number}")));
    }
    loads.push(long("other", "few"));
    let requests = loads.begin(LoadKind::Long);
    assert!(requests.iter().flatten().all(|request| request.kind == LoadKind::Long));
    let first = keys(requests);
    assert_eq!((first.len(), &*first[0], &*first[1]), (MOST_LONG, "many0", "few"));
    loads.push(key_task("short", Command::ServeQueue));
    assert_eq!(keys(loads.begin(LoadKind::Short)), ["short"]);
    assert!(loads.begin(LoadKind::Long).is_none(), "one is under way");
    let left = loads.end(LoadKind::Long).split_off(6);
    loads.push_first(left);
    assert_eq!(keys(loads.begin(LoadKind::Long))[..3], ["many5", "many6", "many7"]);
}

/// Guards that a tenant whose semaphores have a million permits delays no heartbeat of one with thousands.
#[tokio::test]
async fn very_long_loads_delay_no_long_ones() {
    let mut loads = Loads::default();
    let mut very_long = key_task("million", Command::ServeQueue);
    very_long.load_kind = LoadKind::Long.longer();
    loads.push(very_long);
    assert_eq!(keys(loads.begin(LoadKind::VeryLong)), ["million"]);
    let mut long = key_task("thousands", Command::ServeQueue);
    long.load_kind = LoadKind::Short.longer();
    loads.push(long);
    assert_eq!(keys(loads.begin(LoadKind::Long)), ["thousands"]);
}

#[tokio::test]
async fn tasks_that_need_membership_are_loaded_once_there_is_one() {
    let mut loads = Loads::default();
    loads.push_without_membership(key_task("a", Command::ServeQueue));
    assert!(loads.begin(LoadKind::Short).is_none());
    loads.on_registered();
    assert_eq!(keys(loads.begin(LoadKind::Short)), ["a"]);
}
