//! Overload: which acquires are shed when more arrive than the database can write, which are not, and what follows.

mod floods;
mod rushes;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Replica, memory_store::MemoryStore, options, request};
use crate::{
    AcquireRequest,
    domain::{Data, Key, KeyId, Tenant},
    engine::EngineOptions,
};

/// How long a commit takes.
const COMMIT: Duration = Duration::from_millis(50);

/// How long acquires may wait for a batch.
const MAX_WAIT: Duration = Duration::from_millis(500);

fn replica(options: EngineOptions) -> Replica {
    let store = Arc::new(MemoryStore::new());
    store.commit_ms.store(u64::try_from(COMMIT.as_millis()).unwrap(), Ordering::Relaxed);
    Replica::with_options(&store, options)
}

fn short_queue() -> EngineOptions {
    EngineOptions { max_queued: 100_000, max_queue_wait: MAX_WAIT, memory_bytes: 16 << 20, ..options(1) }
}

fn key_of(tenant: &str, key: usize) -> KeyId {
    KeyId { tenant: Tenant::new(tenant).unwrap(), key: Key::new(&key.to_string()).unwrap() }
}

fn large(data: &Data) -> AcquireRequest {
    AcquireRequest { data: Some(data.clone()), ..request(0) }
}

fn data() -> Data {
    Data::new(&"x".repeat(4 * 1024 - 256)).unwrap()
}
