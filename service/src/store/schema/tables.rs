//! Checks that the tables are those of db-locks. The database may be shared with another program, which may have a table of
//! the same name.

use db_locks_entity::{locks, permits, replicas, sweep_lease, token_floors, tokens, waiters};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, IdenStatic, Iterable};

use super::{super::dialect::Dialect, StoreError, failed, records::Records};

/// A table, or a type of rows on PostgreSQL.
struct Shape {
    name: &'static str,
    columns: Vec<&'static str>,
    /// The migration that creates the table or the type.
    created_by: &'static str,
}

fn shape<E: EntityTrait + Default>(created_by: &'static str) -> Shape {
    let columns = E::Column::iter().map(|column| column.as_str()).collect();
    Shape { name: E::default().table_name(), columns, created_by }
}

fn tables() -> [Shape; 9] {
    [
        shape::<locks::Entity>("m20261123_000001_locks"),
        shape::<permits::Entity>("m20261123_000002_permits"),
        shape::<waiters::Entity>("m20261123_000003_waiters"),
        shape::<replicas::Entity>("m20261123_000004_replicas"),
        shape::<token_floors::Entity>("m20261123_000005_sweeping"),
        shape::<sweep_lease::Entity>("m20261123_000005_sweeping"),
        guards(),
        shape::<tokens::Entity>("m20261127_000011_tokens"),
        epoch(),
    ]
}

/// The guard rows have no entity: the statements about them differ between databases.
fn guards() -> Shape {
    let columns =
        vec!["tenant", "key", "slot", "version", "previous", "token", "granted_at", "identity", "uses"];
    Shape { name: "db_locks_guards", columns, created_by: "m20261127_000009_guards" }
}

/// The row of the epoch has no entity, either: it is read and written on connections that are being set up.
fn epoch() -> Shape {
    let columns = vec!["id", "epoch", "identity", "started_at_ms", "generation", "raised_at_ms"];
    Shape { name: "db_locks_epoch", columns, created_by: "m20261128_000013_epoch" }
}

/// The types of rows, which migrations drop and create again.
fn row_types() -> [Shape; 3] {
    let with_stamp = |name, mut table: Shape| {
        table.columns.push("stamp");
        Shape { name, created_by: "m20261126_000006_row_types", ..table }
    };
    [
        with_stamp("lock_row", shape::<locks::Entity>("")),
        with_stamp("waiter_row", shape::<waiters::Entity>("")),
        with_stamp("permit_row", shape::<permits::Entity>("")),
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
    for shape in tables().into_iter().chain(types).filter(|shape| !records.has(shape.created_by)) {
        let found = columns(db, dialect, shape.name).await.map_err(failed)?;
        if let Some(column) = found.iter().find(|column| !shape.columns.contains(&column.as_str())) {
            return Err(foreign(dialect, &shape, &format!("it has a column {column}")));
        }
    }
    Ok(())
}

/// Fails unless every table has the columns that this program reads and writes. A newer schema may have more.
pub(super) async fn check_complete(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    for shape in tables() {
        let found = columns(db, dialect, shape.name).await.map_err(failed)?;
        if found.is_empty() {
            return Err(StoreError::Schema(format!(
                "table {} is missing, though its migration is recorded",
                shape.name
            )));
        }
        if let Some(column) = shape.columns.iter().find(|column| !found.iter().any(|found| found == *column))
        {
            return Err(foreign(dialect, &shape, &format!("it has no column {column}")));
        }
    }
    Ok(())
}

fn foreign(dialect: Dialect, shape: &Shape, what: &str) -> StoreError {
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
        shape.name
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
        for shape in super::tables().into_iter().chain(super::row_types()) {
            assert!(is_known(shape.created_by), "{}", shape.created_by);
        }
    }
}
