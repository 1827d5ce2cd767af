//! Requests that ask whether the service is ready, which anybody may send.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use db_locks_service::{
    Limits, LockService,
    audit::AuditLog,
    engine::{Engine, EngineOptions, SweepOptions},
    store::Store,
};
use tokio::{task::yield_now, time::timeout};

use super::store_on;
use crate::{
    conformance::on_every_database,
    support::{Database, SOON, eventually},
};

on_every_database!(with_database:
    requests_that_are_not_polled_delay_no_other_check,
    a_client_that_hangs_up_costs_no_connection,
);

fn service_over(store: &Arc<dyn Store>) -> LockService {
    let options = EngineOptions {
        shards: 1,
        memory_bytes: 1 << 20,
        max_queued: 1_000,
        max_queue_wait: Duration::from_secs(2),
        max_waiters_per_key: 100,
        max_waiters_per_tenant: 1_000,
        max_waiters: 1_000,
        max_bytes_per_tenant: u64::MAX,
        guard_wait: Duration::from_secs(5),
        sweep: SweepOptions::DEFAULT,
    };
    let engine = Engine::start(Arc::clone(store), options, AuditLog::off());
    LockService::new(engine, Arc::clone(store), Limits::default())
}

/// Guards invariant 1: this replica notices a breaking migration and a raised epoch, whatever clients do. Connections of a flood are
/// polled only in their turns, and the store has one connection for such checks.
async fn requests_that_are_not_polled_delay_no_other_check(database: Database) {
    let store = store_on(&database).await;
    let service = service_over(&store);
    let mut unpolled: Vec<_> = (0..20).map(|_| Box::pin(service.ready())).collect();
    for request in &mut unpolled {
        assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    timeout(SOON, service.ready()).await.expect("a request that is polled is answered").unwrap();
    timeout(SOON, store.check_ready()).await.expect("the engine's own check ends").unwrap();
}

/// The connection of a statement that is dropped before its answer is closed, and all others are distrusted.
async fn a_client_that_hangs_up_costs_no_connection(database: Database) {
    let store = store_on(&database).await;
    let service = service_over(&store);
    service.ready().await.unwrap();
    let membership = || {
        let used = store.connections().into_iter().find(|used| used.pool == "membership");
        used.expect("the pool that checks use")
    };
    let hang_up_often = async {
        let mut times = 0;
        while times < 5 {
            let hang_up = async {
                while membership().in_use == 0 {
                    yield_now().await;
                }
            };
            tokio::select! {
                biased;
                // A fast server has answered before this could see the connection in use.
                ready = service.ready() => ready.unwrap(),
                () = hang_up => times += 1,
            }
            eventually("the check ends", SOON, async || (membership().in_use == 0).then_some(())).await;
            assert_eq!(membership().idle, 1);
        }
    };
    timeout(SOON, hang_up_often).await.expect("checks are seen under way");
}
