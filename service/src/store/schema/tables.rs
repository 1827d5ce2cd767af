//! Checks that the tables are those of db-locks. The database may be shared with another program, which may have a table of
//! the same name.

use db_locks_entity::{locks, permits, replicas, sweep_lease, token_floors, tokens, waiters};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, IdenStatic, Iterable};

use super::{super::dialect::Dialect, StoreError, failed, records::Records};

/// A table, or a type of rows on PostgreSQL.
struct ExpectedColumns {
    name: &'static str,
    columns: Vec<&'static str>,
    /// The migration that creates the table or the type.
    created_by: &'static str,
}

fn columns_of<E: EntityTrait + Default>(created_by: &'static str) -> ExpectedColumns {
    let columns = E::Column::iter().map(|column| column.as_str()).collect();
    ExpectedColumns { name: E::default().table_name(), columns, created_by }
}

fn tables() -> [ExpectedColumns; 9] {
    [
        columns_of::<locks::Entity>("m20261123_000001_locks"),
        columns_of::<permits::Entity>("m20261123_000002_permits"),
        columns_of::<waiters::Entity>("m20261123_000003_waiters"),
        columns_of::<replicas::Entity>("m20261123_000004_replicas"),
        columns_of::<token_floors::Entity>("m20261123_000005_sweeping"),
        columns_of::<sweep_lease::Entity>("m20261123_000005_sweeping"),
        guards(),
        columns_of::<tokens::Entity>("m20261127_000011_tokens"),
        epoch(),
    ]
}

/// The guard rows have no entity: the statements about them differ between databases.
fn guards() -> ExpectedColumns {
    let columns =
        vec!["tenant", "key", "slot", "version", "previous", "token", "granted_at", "identity", "uses"];
    ExpectedColumns { name: "db_locks_guards", columns, created_by: "m20261127_000009_guards" }
}

/// The row of the epoch has no entity, either: it is read and written on connections that are being set up.
fn epoch() -> ExpectedColumns {
    let columns = vec!["id", "epoch", "identity", "started_at_ms", "generation", "raised_at_ms"];
    ExpectedColumns { name: "db_locks_epoch", columns, created_by: "m20261128_000013_epoch" }
}

/// The types of rows, which migrations drop and create again.
fn row_types() -> [ExpectedColumns; 3] {
    let with_stamp = |name, mut table: ExpectedColumns| {
        table.columns.push("stamp");
        ExpectedColumns { name, created_by: "m20261126_000006_row_types", ..table }
    };
    [
        with_stamp("lock_row", columns_of::<locks::Entity>("")),
        with_stamp("waiter_row", columns_of::<waiters::Entity>("")),
        with_stamp("permit_row", columns_of::<permits::Entity>("")),
    ]
}

/// Refuses to adopt another program's table: one that exists before the migration that creates ours, and has a column
/// that ours does not have. (Our own table may exist without a record if a migration was interrupted.)
pub(super) async fn check_not_foreign(
    db: &impl ConnectionTrait,
    dialect: Dialect,
    records: &Records,
) -> Result<(), StoreError> {
    let types = (dialect == Dialect::Postgres).then(row_types).into_iter().flatten();
    for columns_of in
        tables().into_iter().chain(types).filter(|columns_of| !records.has(columns_of.created_by))
    {
        let found = columns(db, dialect, columns_of.name).await.map_err(failed)?;
        if let Some(column) = found.iter().find(|column| !columns_of.columns.contains(&column.as_str())) {
            return Err(foreign(dialect, &columns_of, &format!("it has a column {column}")));
        }
    }
    Ok(())
}

/// Fails unless every table has the columns that this program reads and writes. A newer schema may have more.
pub(super) async fn check_complete(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    for columns_of in tables() {
        let found = columns(db, dialect, columns_of.name).await.map_err(failed)?;
        if found.is_empty() {
            return Err(StoreError::Schema(format!(
                "table {} is missing, though its migration is recorded",
                columns_of.name
            )));
        }
        if let Some(column) =
            columns_of.columns.iter().find(|column| !found.iter().any(|found| found == *column))
        {
            return Err(foreign(dialect, &columns_of, &format!("it has no column {column}")));
        }
    }
    Ok(())
}

fn foreign(dialect: Dialect, columns_of: &ExpectedColumns, what: &str) -> StoreError {
    let way_out = match dialect {
        Dialect::Sqlite => "use another file",
        Dialect::Postgres => {
            "use a schema of its own, which is created if it is missing: add ?options=-csearch_path%3Ddb_locks to the \
             database URL"
        }
        Dialect::MariaDb | Dialect::MySql => {
            "create a database of its own on the same server, and name that one in the database URL"
        }
    };
    StoreError::Schema(format!(
        "there is a {} already that is not db-locks' own: {what}; {way_out}",
        columns_of.name
    ))
}

/// The columns of a table or type; empty if it does not exist.
async fn columns(db: &impl ConnectionTrait, dialect: Dialect, table: &str) -> Result<Vec<String>, DbErr> {
    let query = match dialect {
        Dialect::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
        Dialect::Postgres => format!(
            "SELECT attname::text FROM pg_attribute \
             WHERE attrelid = to_regclass('{table}') AND attnum > 0 AND NOT attisdropped"
        ),
        Dialect::MariaDb | Dialect::MySql => format!(
            "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = '{table}'"
        ),
    };
    let rows = db.query_all_raw(dialect.statement(&query, [])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::records::is_known;

    /// The names of migrations are repeated above; each must be that of a migration.
    #[test]
    fn every_table_is_created_by_a_migration() {
        for columns_of in super::tables().into_iter().chain(super::row_types()) {
            assert!(is_known(columns_of.created_by), "{}", columns_of.created_by);
        }
    }
}
