//! Which session keeps a guard row locked.

use sea_orm::QueryResult;

use crate::{
    domain::KeyId,
    store::{dialect::Dialect, sql_store::SqlStore},
};

/// Sessions whose transaction is noted in the row; as it stands there if it is only one.
const POSTGRES: &str = "/* guarding_session */ SELECT l.pid::text FROM db_locks_guards g \
     JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = g.xmax AND l.granted \
     AND l.mode = 'ExclusiveLock' WHERE g.tenant = $1 AND g.\"key\" = $2 LIMIT 1";

/// The same where several transactions have locked the row.
const POSTGRES_SEVERAL: &str = "/* guarding_session */ SELECT l.pid::text FROM db_locks_guards g \
     CROSS JOIN LATERAL pg_get_multixact_members(g.xmax) m \
     JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = m.xid AND l.granted \
     AND l.mode = 'ExclusiveLock' WHERE g.tenant = $1 AND g.\"key\" = $2 AND g.xmax <> '0'::xid LIMIT 1";

impl SqlStore {
    /// The session that keeps the guard row of a key locked, where the database tells. It is for people, so an error is as good
    /// as no answer.
    pub(in super::super) async fn find_guarding_session(&self, id: &KeyId) -> Option<String> {
        if self.sql.dialect != Dialect::Postgres {
            return None;
        }
        for sql in [POSTGRES, POSTGRES_SEVERAL] {
            let id = [id.tenant.as_str().into(), id.key.as_str().into()];
            let rows: Vec<QueryResult> = self.query(self.general_pool(), &self.load, sql, id).await.ok()?;
            if let Some(row) = rows.first() {
                return row.try_get_by_index(0).ok();
            }
        }
        None
    }
}
