//! Readiness: whether writes would be carried out.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio::time::{Instant, timeout};

use super::{
    StoreError,
    classify::{Purpose, classify, overloaded, takes_no_writes},
    dialect::Dialect,
    schema,
    sql_store::SqlStore,
};

/// How long one who asks waits for those who ask at the same time.
const WAIT: Duration = Duration::from_secs(2);

/// When the database was last asked whether it is ready, and its answer. One caller at a time asks it, and the answer is good
/// for all who began to wait before: however many ask, the database is asked by one of them at a time.
#[derive(Debug, Default)]
pub(super) struct Readiness(tokio::sync::Mutex<Option<(Instant, Result<(), StoreError>)>>);

impl SqlStore {
    /// Whether the database answers, takes writes and has this program's schema.
    pub(super) async fn check_readiness(&self) -> Result<(), StoreError> {
        let called = Instant::now();
        let mut last = timeout(WAIT, self.readiness.0.lock()).await.map_err(|_| overloaded())?;
        if let Some((asked, result)) = &*last
            && *asked >= called
        {
            return result.as_ref().copied().map_err(StoreError::repeated);
        }
        let asked = Instant::now();
        let result = self.ask_whether_ready().await;
        let repeated = result.as_ref().copied().map_err(StoreError::repeated);
        *last = Some((asked, repeated));
        result
    }

    async fn ask_whether_ready(&self) -> Result<(), StoreError> {
        let work = async {
            let looked = schema::check(self.membership_pool(), self.sql.dialect).await;
            self.gate.note(&looked);
            self.gate.check_file()?;
            looked?;
            self.check_writable().await?;
            self.check_disk().await
        };
        self.membership.run_sorted(Purpose::Read, work).await
    }

    /// Whether the server that the connections lead to takes writes. If not, they are given up: another may do by now.
    async fn check_writable(&self) -> Result<(), StoreError> {
        let sql = match self.sql.dialect {
            Dialect::Sqlite => return Ok(()),
            Dialect::Postgres => {
                "/* writable */ SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
            }
            // `ON`, and names for degrees of it in later versions.
            Dialect::MariaDb | Dialect::MySql => {
                "/* writable */ SELECT CAST(@@GLOBAL.read_only AS CHAR) NOT IN ('0', 'OFF')"
            }
        };
        let read = async {
            let row = self.membership_pool().query_one_raw(self.sql.dialect.statement(sql, [])).await?;
            row.map_or(Ok(false), |row| row.try_get_by_index::<bool>(0))
        };
        if read.await.map_err(|error| classify(error, Purpose::Read))? {
            self.pools.health.note_read_only();
            return Err(takes_no_writes());
        }
        Ok(())
    }
}
