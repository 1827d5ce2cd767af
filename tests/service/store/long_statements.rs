//! Statements of more than 16 KiB over TLS: several records, of which none may be kept back.

use std::{sync::Arc, time::Duration};

use db_locks_service::domain::{Command, Data};
use tokio::time::Instant;

use super::{id, load, store_on, write};
use crate::support::{Dialect, sql};

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
    let id = id("long");
    let data = Data::new(&"d".repeat(20_000)).unwrap();
    let mut times = Vec::new();
    for _ in 0..60 {
        let (state, now) = load(&*store, &id).await;
        let put = Command::PutLock { data: Some(data.clone()), guarded: None };
        let writes = Arc::new(vec![write(&id, state, now, &[put])]);
        let sent = Instant::now();
        assert!(store.commit(writes).await.unwrap().tokens[0].is_some());
        times.push(sent.elapsed());
    }
    // At first a kernel acknowledges everything at once.
    let mut times = times.split_off(20);
    times.sort_unstable();
    let median = times[times.len() / 2];
    assert!(median < DELAYED_ACK * 3 / 4, "half of the statements took {median:?} or more");
}
