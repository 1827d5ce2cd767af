//! Replicas that start at the same moment.

use serde_json::json;

use super::on_every_database;
use crate::support::{Database, Service};

on_every_database![with_database:
    replicas_that_start_at_once_migrate_safely,
];

/// Guards invariant 1 from the first moment on: one schema, one set of locks.
pub(crate) async fn replicas_that_start_at_once_migrate_safely(database: Database) {
    let mut replicas =
        (0..3).map(|replica| Service::spawn(database.url_of(replica), &[])).collect::<Vec<_>>();
    for replica in &mut replicas {
        replica.until_ready().await;
    }
    let svc = replicas[0].client();
    let calls = replicas
        .iter()
        .map(|replica| svc.at(replica.port()).post_aside("/locks/k/acquire", json!({"wait_ms": 0})))
        .collect::<Vec<_>>();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 423, 423]);
}
