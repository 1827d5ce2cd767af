//! What becomes of a grant whose client is gone before it can have read the answer.

use db_locks_service::{
    AcquireRequest, Delivery, Limits, LockService,
    audit::AuditLog,
    domain::{Data, Key, KeyId, Kind, Owner, Tenant},
    engine::{Engine, EngineOptions, SweepOptions},
    store::{self, DatabaseOptions},
};
use tempfile::TempDir;

use super::{by_hand::ByHand, *};
use crate::{answer::granted, http::connection::Unconfirmed};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The client has no room for a byte of an answer.
const NO_WINDOW: [u8; 15] = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
/// The client has room for this stream's answer.
const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 1, 0, 0];
const REQUEST: [u8; 12] = [0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84];
const RESET: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
/// The beginning of the answer's head, without its length.
const HEAD: &str = "\u{1}\u{4}\0\0\0\u{1}";
/// The end of an answer's body.
const END: &str = "Z\"}";
/// The length of the data in a long answer, which h2 writes in several frames.
const LONG: usize = 5_000;

/// A lock service with a database of its own.
pub(in crate::http::server) struct Locks {
    service: LockService,
    _folder: TempDir,
}

impl Locks {
    pub(in crate::http::server) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/locks.sqlite?mode=rwc", folder.path().display());
        let options = DatabaseOptions::new(&url, 5).unwrap();
        store::migrate_up(&options).await.unwrap();
        let store = store::connect(&options).await.unwrap();
        let limits = Limits::default();
        let options = EngineOptions {
            shards: 1,
            memory_bytes: 1 << 20,
            max_queued: EngineOptions::MAX_QUEUED,
            max_queue_wait: DEADLINE,
            max_waiters_per_key: limits.max_waiters_per_key,
            max_waiters_per_tenant: limits.max_waiters,
            max_waiters: limits.max_waiters,
            max_bytes_per_tenant: u64::MAX,
            guard_wait: DEADLINE,
            sweep: SweepOptions::DEFAULT,
        };
        let engine = Engine::start(store.clone(), options, AuditLog::off());
        Self { service: LockService::new(engine, store, limits), _folder: folder }
    }

    async fn acquire(&self, key: &str, wait: Duration, data: usize) -> Option<Delivery> {
        let id = KeyId { tenant: Tenant::new("default").unwrap(), key: Key::new(key).unwrap() };
        let request = AcquireRequest {
            kind: Kind::Mutex,
            owner: Owner::new("owner").unwrap(),
            lease_ms: Some(600_000),
            wait_ms: Some(i64::try_from(wait.as_millis()).unwrap()),
            additional_wait_ms: 0,
            data: Some(Data::new(&"d".repeat(data)).unwrap()),
            replace_data: true,
            delete_on_release: false,
            only_if_exists: false,
            reentrant: false,
            guarded: false,
            version: None,
        };
        self.service.acquire(id, request).await.ok()
    }

    /// A new grant of this lock.
    pub(in crate::http::server) async fn grant(&self, key: &str) -> Unconfirmed {
        Unconfirmed::new(self.acquire(key, Duration::ZERO, 0).await.unwrap())
    }

    /// The answer with a new grant of this lock and so many bytes of data.
    async fn answer(&self, key: &str, data: usize) -> Response {
        granted(self.acquire(key, Duration::ZERO, data).await.unwrap())
    }

    /// Whether this lock is free. If that is expected, it may take a moment to give the last grant back.
    pub(in crate::http::server) async fn is_free(&self, key: &str, is_expected: bool) -> bool {
        let wait = if is_expected { DEADLINE } else { Duration::ZERO };
        self.acquire(key, wait, 0).await.is_some()
    }
}

/// A connection over HTTP/2 whose request waits for its answer.
async fn request_with(settings: &[u8]) -> ByHand {
    let mut connection = ByHand::open().await;
    connection.request(&[PREFACE, settings, &REQUEST].concat()).await;
    connection
}

/// This is how a client of HTTP/2 cancels a request.
#[tokio::test]
async fn a_grant_whose_stream_was_reset_before_its_answer_is_written_is_given_back() {
    let locks = Locks::start().await;
    for data in [0, LONG] {
        let mut connection = request_with(&SETTINGS).await;
        connection.client.write_all(&RESET).await.unwrap();
        connection.answer(locks.answer("k", data).await);
        assert!(!connection.poll().await);
        assert!(locks.is_free("k", true).await, "with {data} bytes of data");
    }
}

#[tokio::test]
async fn a_grant_whose_client_hung_up_before_its_answer_is_written_is_given_back() {
    let locks = Locks::start().await;
    for data in [0, LONG] {
        let mut connection = request_with(&SETTINGS).await;
        connection.client.shutdown().await.unwrap();
        connection.answer(locks.answer("k", data).await);
        connection.poll().await;
        assert!(locks.is_free("k", true).await, "with {data} bytes of data");
    }
}

/// Its end is asked for before the last bytes of a long answer are written, too.
#[tokio::test]
async fn a_grant_whose_client_hung_up_is_given_back_although_the_runtime_does_not_know_it() {
    let locks = Locks::start().await;
    for data in [0, LONG] {
        let mut connection = request_with(&SETTINGS).await;
        let answer = locks.answer("k", data).await;
        connection.client.shutdown().await.unwrap();
        // Longer ago than what counts as recent.
        std::thread::sleep(Duration::from_millis(3));
        connection.answer(answer);
        connection.poll_before_runtime().await;
        assert!(locks.is_free("k", true).await, "with {data} bytes of data");
    }
}

/// Its answer is ready, and hyper or h2 keeps it.
#[tokio::test]
async fn a_grant_whose_client_has_no_room_for_its_answer_is_given_back_when_it_is_gone() {
    let locks = Locks::start().await;
    for (data, is_reset) in [(0, true), (0, false), (LONG, true), (LONG, false)] {
        let mut connection = request_with(&NO_WINDOW).await;
        connection.answer(locks.answer("k", data).await);
        connection.serve_until_read(HEAD, 1).await;
        if is_reset {
            connection.client.write_all(&RESET).await.unwrap();
        } else {
            connection.client.shutdown().await.unwrap();
        }
        let is_free = connection.serve_until(locks.is_free("k", true)).await;
        assert!(is_free, "with {data} bytes of data, reset: {is_reset}");
    }
}

#[tokio::test]
async fn a_grant_whose_answer_was_read_stays_with_its_client() {
    let locks = Locks::start().await;
    for (key, settings, data) in
        [("a", &SETTINGS[..], 0), ("b", &SETTINGS, LONG), ("c", &NO_WINDOW, 0), ("d", &NO_WINDOW, LONG)]
    {
        let mut connection = request_with(settings).await;
        connection.answer(locks.answer(key, data).await);
        if settings == NO_WINDOW {
            connection.poll().await;
            connection.client.write_all(&WINDOW_UPDATE).await.unwrap();
        }
        connection.serve_until_read(END, 1).await;
        connection.client.write_all(&RESET).await.unwrap();
        connection.client.shutdown().await.unwrap();
        connection.poll().await;
        drop(connection);
        assert!(!locks.is_free(key, false).await, "{key}");
    }
}
