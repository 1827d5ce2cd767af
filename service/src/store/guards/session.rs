//! Finds the session that keeps a guard row locked. The result is for people, so an error counts as no answer.

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use sea_orm::{DbErr, Value};
use tokio::time::timeout;

use crate::{
    domain::KeyId,
    store::{dialect::Dialect, mysql::error_number, sql_store::SqlStore},
};

/// Finds the session of the only transaction that has locked the row: the row holds its id.
const POSTGRES: &str = "/* guarding_session */ SELECT l.pid::text FROM db_locks_guards g \
     JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = g.xmax AND l.granted \
     AND l.mode = 'ExclusiveLock' WHERE g.tenant = $1 AND g.\"key\" = $2 AND g.slot = $3 LIMIT 1";

/// Finds a session if several transactions have locked the row.
const POSTGRES_SEVERAL: &str = "/* guarding_session */ SELECT l.pid::text FROM db_locks_guards g \
     CROSS JOIN LATERAL pg_get_multixact_members(g.xmax) m \
     JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = m.xid AND l.granted \
     AND l.mode = 'ExclusiveLock' WHERE g.tenant = $1 AND g.\"key\" = $2 AND g.slot = $3 AND g.xmax <> '0'::xid LIMIT 1";

/// Waits for the row for a short time. MariaDB lists a lock only while somebody waits for it, so one of our sessions
/// does.
const MARIADB_WAIT: &str = "/* guarding_session */ SET STATEMENT max_statement_time = 0.15 FOR \
     SELECT 1 FROM db_locks_guards WHERE tenant = ? AND `key` = ? AND slot = ? FOR UPDATE";

/// Finds a session that another one waits for. All transactions that have written nothing share the id 0. If several of
/// these keep locks, none is named.
const MARIADB: &str = "/* guarding_session */ SELECT CAST(MIN(b.trx_mysql_thread_id) AS CHAR) \
     FROM information_schema.INNODB_LOCK_WAITS w \
     JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id \
     JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id AND b.trx_rows_locked > 0 \
     WHERE r.trx_mysql_thread_id = ? \
     GROUP BY w.blocking_trx_id HAVING COUNT(DISTINCT b.trx_mysql_thread_id) = 1 LIMIT 1";

/// Pauses before each look at MariaDB's list. It shows the wait after the first pause; it is refreshed only after 100
/// ms.
const MARIADB_LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(115)];

/// MariaDB's error for a missing privilege.
const ACCESS_DENIED: u16 = 1227;

impl SqlStore {
    /// The session that keeps the guard row of a slot locked, if the database shows it. With `thoroughly` this also tries
    /// ways that take a moment.
    pub(in crate::store) async fn find_guarding_session(
        &self,
        id: &KeyId,
        slot: i32,
        thoroughly: bool,
    ) -> Option<String> {
        let row = || [id.tenant.as_str().into(), id.key.as_str().into(), Value::from(slot)];
        match self.sql.dialect {
            Dialect::Postgres => {
                let session = self.session_of(POSTGRES, row()).await.ok()?;
                if session.is_some() {
                    session
                } else {
                    self.session_of(POSTGRES_SEVERAL, row()).await.ok()?
                }
            }
            Dialect::MariaDb if thoroughly => self.find_on_mariadb(row()).await,
            Dialect::Sqlite | Dialect::MariaDb | Dialect::MySql => None,
        }
    }

    /// Waits for the row, and meanwhile looks for the session that keeps it locked.
    async fn find_on_mariadb(&self, row: [Value; 3]) -> Option<String> {
        if self.sessions_are_hidden.load(Ordering::Relaxed) {
            return None;
        }
        let _permit = self.session_search.try_acquire().ok()?;
        let waiter = self.begin(self.general_pool(), &self.load).await.ok()?;
        let found = async {
            let own = self.query(&waiter, &self.load, "SELECT CAST(CONNECTION_ID() AS SIGNED)", []).await?;
            let own: i64 = own.first().map_or(Ok(0), |row| row.try_get_by_index(0))?;
            let mut wait = pin!(self.query(&waiter, &self.load, MARIADB_WAIT, row));
            let mut found = Ok(None);
            for pause in MARIADB_LOOKS {
                if timeout(pause, &mut wait).await.is_ok() {
                    return found;
                }
                // Not on the pool of the waiting connection, which may have no other one.
                found = self.session_of(MARIADB, [Value::from(own)]).await;
                if !matches!(found, Ok(None)) {
                    break;
                }
            }
            // The wait is not cancelled: that would look like a server that does not answer.
            let _ = wait.await;
            found
        };
        let found = found.await;
        // Nothing was written. If the wait has locked the row, this frees it.
        let nothing = waiter.end(Err::<(), _>(DbErr::Custom("a search writes nothing".to_owned()))).await;
        debug_assert!(nothing.is_err(), "it is rolled back");
        found.unwrap_or_else(|error| {
            if error_number(&error) == Some(ACCESS_DENIED) && !self.sessions_are_hidden.swap(true, Ordering::Relaxed) {
                tracing::info!(
                    "the session of an open transaction cannot be named: the service's user needs the privilege PROCESS when \
                     the service starts"
                );
            }
            None
        })
    }

    async fn session_of(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<String>, DbErr> {
        let rows = self.query(self.hot_pool(), &self.load, sql, values).await?;
        rows.first().map(|row| row.try_get_by_index(0)).transpose()
    }
}
