//! Commits that another node undoes.

use std::collections::BTreeSet;

use serde_json::json;

use super::cluster::Nodes;
use crate::support::{Client, Fleet};

const CALLERS: usize = 12;
const ROUNDS: usize = 40;

/// Guards invariants 1 and 2. A commit at one node that comes after another node's commit to the same row fails as a
/// deadlock, and no caller notices.
#[tokio::test]
async fn a_deadlock_at_commit_is_a_lost_race() {
    let Some(nodes) = Nodes::shared().await else { return };
    let fleet = Fleet::start(nodes.database().await, 2).await;
    let callers = (0..CALLERS).map(|caller| tokio::spawn(compete(fleet.at(caller)))).collect::<Vec<_>>();
    let mut tokens = BTreeSet::new();
    let mut grants = 0;
    for caller in callers {
        let granted = caller.await.unwrap();
        grants += granted.len();
        tokens.extend(granted);
    }
    assert_eq!(tokens.len(), grants, "a token was granted twice");
    let mut deadlocks = 0.0;
    for replica in 0..2 {
        let metrics = fleet.at(replica).get("/metrics").await.text;
        let line = metrics.lines().find(|line| {
            line.starts_with("db_locks_database_errors_total")
                && line.contains(r#"operation="commit""#)
                && line.contains(r#"kind="transient""#)
        });
        deadlocks += line.and_then(|line| line.rsplit(' ').next()).unwrap().parse::<f64>().unwrap();
    }
    assert!(deadlocks > 0.0, "there was no deadlock to be seen");
}

/// Acquires a contended lock and writes to another one, again and again. Returns the tokens of its grants.
async fn compete(svc: Client) -> Vec<i64> {
    let mut tokens = Vec::new();
    for round in 0..ROUNDS {
        let answer = svc.acquire("k", json!({"wait_ms": 0, "lease_duration_ms": 60_000})).await;
        if answer.status == 423 {
            answer.not_granted("no_wait");
        } else {
            let grant = answer.grant();
            tokens.push(grant.token);
            svc.release("k", &grant.version).await.unheld(200);
        }
        let put = svc.put("/locks/free", json!({"data": round.to_string()})).await;
        assert!(matches!(put.status, 200 | 201), "{}", put.text);
    }
    tokens
}
