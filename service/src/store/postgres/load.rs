//! Loads keys' rows from PostgreSQL, without SeaORM around each value.

use sea_orm::{
    DbErr,
    sqlx::{Arguments, Postgres, postgres::PgArguments},
};

use super::{bind::unsendable, sql};
use crate::store::{
    LoadRequest,
    fence::Fence,
    pool::Pool,
    rows::{ReadStates, read_states},
    sql_store::SqlStore,
};

impl SqlStore {
    /// Loads the states of keys without their queues and permits, and database time.
    pub(in super::super) async fn load_postgres(
        &self,
        pool: &Pool<Postgres>,
        load_requests: &[LoadRequest],
    ) -> Result<ReadStates, DbErr> {
        let mut arguments = PgArguments::default();
        let tenants: Vec<_> = load_requests.iter().map(|request| request.id.tenant.as_str()).collect();
        let keys: Vec<_> = load_requests.iter().map(|request| request.id.key.as_str()).collect();
        arguments.add(tenants).and_then(|()| arguments.add(keys)).map_err(|error| unsendable(&error))?;
        self.load.round_trips.increment(1);
        read_states(&pool.fetch(&sql::LOAD_ROWS, arguments, Fence::OPEN).await?, load_requests.len())
    }
}
