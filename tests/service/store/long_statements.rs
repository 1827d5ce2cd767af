//! Statements of more than 16 KiB over TLS: several records, of which none may be kept back.

use std::{sync::Arc, time::Duration};

use db_locks_service::{
    domain::{Command, Data},
    store::Store,
};
use tokio::time::Instant;

use super::{id, load, store_on, write};
use crate::support::{Dialect, Times, sql};

/// How long a server's kernel may wait until it acknowledges the first record.
const DELAYED_ACK: Duration = Duration::from_millis(40);

/// `MySQL` offers TLS by itself.
#[tokio::test]
async fn a_long_statement_over_tls_does_not_wait_for_an_acknowledgement() {
    let Some(database) = Dialect::MySql.database().await else { return };
    let encrypted = "SELECT CAST(COUNT(*) AS SIGNED) FROM performance_schema.session_status \
                     WHERE variable_name = 'Ssl_cipher' AND variable_value <> ''";
    assert_eq!(sql::number(&database.url, encrypted).await.unwrap(), 1, "this session has no TLS");
    let store = store_on(&database).await;
    let (mut short, mut long) = (Times::default(), Times::default());
    for round in 0..60 {
        for (times, length) in [(&mut short, 10), (&mut long, 20_000)] {
            let took = put(&*store, length).await;
            // At first a kernel acknowledges everything at once.
            if round >= 20 {
                times.0.push(took);
            }
        }
    }
    // A slow disk delays both.
    let (short, long) = (short.median(), long.median());
    assert!(
        long < short + DELAYED_ACK * 3 / 4,
        "half of the statements took {long:?} or more, short ones {short:?}"
    );
}

/// The duration of a commit with data of this length.
async fn put(store: &dyn Store, length: usize) -> Duration {
    let id = id("long");
    let (state, now) = load(store, &id).await;
    let put = Command::PutLock { data: Some(Data::new(&"d".repeat(length)).unwrap()), guarded: None };
    let writes = Arc::new(vec![write(&id, state, now, &[put])]);
    let sent = Instant::now();
    assert!(store.commit(writes).await.unwrap().tokens[0].is_some());
    sent.elapsed()
}
