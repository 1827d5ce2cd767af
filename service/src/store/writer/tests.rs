//! Writes to a SQLite file that fail, or whose caller goes away: the next write is durable, and nothing keeps the file locked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    access::{Role, Scope, SecretHash, Token, TokenId},
    domain::{ReplicaId, RowVersion, Timestamp},
    store::{
        DatabaseOptions, ReplicaStore, StoreError, SweepStore, TokenStore, disk::trial, migrate_up,
        sql_store::SqlStore,
    },
};

/// A try to write.
type Attempt<'s> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 's>>;

/// A kind of write.
struct Kind {
    name: &'static str,
    attempt: for<'s> fn(&'s SqlStore) -> Attempt<'s>,
    /// Counts the rows that show that it was carried out.
    written: &'static str,
}

const ID: Uuid = Uuid::from_u128(7);

/// Every kind of write, each to a table that the former ones prepared.
const KINDS: [Kind; 8] = [
    Kind {
        name: "a batch",
        attempt: |store| {
            let writes = Arc::new(vec![trial(RowVersion(ID))]);
            Box::pin(async move { store.commit_writes(writes).await.map(drop) })
        },
        written: "SELECT count(*) FROM locks",
    },
    Kind {
        name: "join",
        attempt: |store| store.join(ReplicaId(ID)),
        written: "SELECT count(*) FROM replicas",
    },
    Kind {
        name: "heartbeat",
        attempt: |store| Box::pin(async move { store.heartbeat(ReplicaId(ID)).await.map(drop) }),
        written: "SELECT count(*) FROM replicas WHERE beat > 0",
    },
    Kind {
        name: "leave",
        attempt: |store| store.leave(ReplicaId(ID), None),
        written: "SELECT NOT EXISTS (SELECT 1 FROM replicas)",
    },
    Kind {
        name: "lead_sweep",
        attempt: |store| Box::pin(async move { store.lead_sweep(ReplicaId(ID), 60_000).await.map(drop) }),
        written: "SELECT count(*) FROM sweep_lease WHERE expires_at_ms > 0",
    },
    Kind {
        name: "add_token",
        attempt: |store| Box::pin(async move { store.add_token(&token(), SecretHash::of(b"secret")).await }),
        written: "SELECT count(*) FROM db_locks_tokens",
    },
    Kind {
        name: "note_use",
        attempt: |store| store.note_use(&[TokenId(ID)]),
        written: "SELECT count(*) FROM db_locks_tokens WHERE last_used_at_ms IS NOT NULL",
    },
    Kind {
        name: "remove_token",
        attempt: |store| Box::pin(async move { store.remove_token(TokenId(ID)).await.map(drop) }),
        written: "SELECT NOT EXISTS (SELECT 1 FROM db_locks_tokens)",
    },
];

fn token() -> Token {
    Token {
        id: TokenId(ID),
        name: "ci".to_owned(),
        scope: Scope { tenant: None, role: Role::Admin, keys: None },
        created_at: Timestamp(1),
        expires_at: None,
        last_used_at: None,
    }
}

/// A store whose writes can be made to fail.
struct Fallible {
    store: SqlStore,
    /// Another process.
    other: Connection,
    _folder: TempDir,
}

impl Fallible {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks");
        let options = DatabaseOptions::new(&format!("sqlite://{}?mode=rwc", path.display()), 2).unwrap();
        migrate_up(&options).await.unwrap();
        let other = Connection::open(&path).unwrap();
        other.busy_timeout(Duration::from_secs(2)).unwrap();
        other.execute_batch("CREATE TABLE fault (kind TEXT); INSERT INTO fault VALUES ('')").unwrap();
        for table in ["locks", "replicas", "sweep_lease", "db_locks_tokens"] {
            for change in ["INSERT", "UPDATE", "DELETE"] {
                for kind in ["ROLLBACK", "ABORT"] {
                    let trigger = format!(
                        "CREATE TRIGGER {table}_{change}_{kind} BEFORE {change} ON {table} \
                         WHEN (SELECT kind FROM fault) = '{kind}' BEGIN SELECT RAISE({kind}, 'refused'); END"
                    );
                    other.execute_batch(&trigger).unwrap();
                }
            }
        }
        Self { store: SqlStore::connect(&options).await.unwrap(), other, _folder: folder }
    }

    /// Makes writes fail in this way; the empty one is none. This needs the file's lock.
    fn set_fault(&self, kind: &str) {
        self.other.execute("UPDATE fault SET kind = ?1", [kind]).unwrap();
    }

    /// Whether a write was carried out, for other processes, too.
    fn is_written(&self, kind: &Kind) -> bool {
        self.other.query_row(kind.written, (), |row| row.get::<_, i64>(0)).unwrap() > 0
    }
}

/// Guards invariant 3: what is answered as written is durable. If the disk is full, SQLite undoes a transaction by itself,
/// as `ROLLBACK` does here, and the one after it only the statement, as `ABORT` does.
#[tokio::test]
async fn after_failed_writes_the_next_one_is_durable_and_the_file_is_not_locked() {
    let fallible = Fallible::new().await;
    for kind in KINDS {
        for fault in ["ROLLBACK", "ABORT", "ABORT", "ROLLBACK", "ABORT"] {
            fallible.set_fault(fault);
            (kind.attempt)(&fallible.store).await.expect_err(kind.name);
            assert!(!fallible.is_written(&kind), "{}: {fault}", kind.name);
        }
        fallible.set_fault("");
        (kind.attempt)(&fallible.store).await.expect(kind.name);
        assert!(fallible.is_written(&kind), "{}", kind.name);
    }
    fallible.set_fault("ABORT");
}

/// Polls a future at most so many times, and drops it. Whether it came to its end.
async fn cut_off<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>, polls: usize) -> bool {
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn a_write_whose_caller_goes_away_at_any_time_does_not_leave_the_file_locked() {
    let fallible = Fallible::new().await;
    for kind in KINDS {
        let mut polls = 0;
        while !cut_off((kind.attempt)(&fallible.store), polls).await {
            polls += 1;
            fallible.set_fault("");
        }
        assert!(fallible.is_written(&kind), "{}", kind.name);
    }
}

#[tokio::test]
async fn the_store_is_not_ready_while_another_process_keeps_the_file_locked() {
    let Fallible { store, other, _folder } = Fallible::new().await;
    let [batch, ..] = KINDS;
    let is_locked = |result| matches!(result, Err(StoreError::Transient(_)));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.check_whether_ready().await.unwrap();
    assert!(is_locked((batch.attempt)(&store).await));
    for _ in 0..2 {
        assert!(is_locked(store.check_whether_ready().await));
    }
    other.execute_batch("ROLLBACK").unwrap();
    store.check_whether_ready().await.unwrap();
    (batch.attempt)(&store).await.unwrap();
}
