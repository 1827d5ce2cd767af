//! `db_locks_guard`: the routines that users call in their transactions. Dumps leave routines out unless they are asked
//! for them, so missing routines are created at start. The service itself calls none of them.

use sea_orm::{ConnectionTrait, DbErr};

use super::dialect::Dialect;

/// A mark in the text of every routine. A routine without this mark is of another version.
const MARK: &str = "db-locks guard 5";

/// Separates statements that are sent one by one. PostgreSQL and SQLite carry out a single text as a whole or not at
/// all.
const NEXT: &str = "-- next statement\n";

/// Why no lock can be guarded if routines are missing.
const MISSING: &str = "guarding needs db_locks_guard, which is missing in the database or is of another version: run \
                       `db-locks migrate up` as a user who may create it, and start the service again";

/// Creates the routines if they are missing.
pub(super) async fn create_if_missing(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), DbErr> {
    match exist(db, dialect).await {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(%error, "cannot find out whether db_locks_guard exists");
            return Ok(());
        }
    }
    for statement in statements(db, dialect).await {
        if let Err(error) = db.execute_unprepared(&statement).await {
            // Another process may have created them at the same time.
            return if exist(db, dialect).await.unwrap_or(false) { Ok(()) } else { Err(error) };
        }
    }
    tracing::info!("db_locks_guard was created");
    Ok(())
}

/// Why no lock can be guarded; `None` if locks can be guarded.
pub(super) async fn refusal(db: &impl ConnectionTrait, dialect: Dialect) -> Option<String> {
    if dialect == Dialect::MySql && is_multi_primary(db).await {
        return Some("guarding needs group replication in single-primary mode".to_owned());
    }
    match exist(db, dialect).await {
        Ok(true) => None,
        Ok(false) => Some(MISSING.to_owned()),
        Err(error) => {
            tracing::warn!(%error, "cannot find out whether db_locks_guard exists");
            Some(MISSING.to_owned())
        }
    }
}

/// Whether all routines exist in this version.
async fn exist(db: &impl ConnectionTrait, dialect: Dialect) -> Result<bool, DbErr> {
    let (query, wanted) = match dialect {
        Dialect::Sqlite => (
            format!(
                "SELECT count(*) FROM sqlite_schema WHERE name = 'db_locks_guard' AND sql LIKE '%{MARK}%'"
            ),
            1,
        ),
        Dialect::Postgres => (
            format!(
                "SELECT count(*) FROM pg_proc WHERE proname = 'db_locks_guard' AND prosrc LIKE '%{MARK}%' \
                 AND pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
            ),
            2,
        ),
        Dialect::MariaDb | Dialect::MySql => (
            format!(
                "SELECT count(*) FROM information_schema.routines WHERE routine_schema = DATABASE() \
                 AND routine_name IN ('db_locks_guard', 'db_locks_guard_in') AND routine_comment = '{MARK}'"
            ),
            2,
        ),
    };
    let row = db.query_one_raw(dialect.statement(&query, [])).await?;
    let found: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(found == wanted)
}

/// Whether several servers of a group accept writes. A row lock is local to its server.
async fn is_multi_primary(db: &impl ConnectionTrait) -> bool {
    let query = "SELECT count(*) FROM performance_schema.global_variables \
                 WHERE variable_name = 'group_replication_single_primary_mode' AND variable_value = 'OFF'";
    let row = db.query_one_raw(Dialect::MySql.statement(query, [])).await.ok().flatten();
    row.and_then(|row| row.try_get_by_index::<i64>(0).ok()).is_some_and(|found| found > 0)
}

/// The statements that create the routines.
async fn statements(db: &impl ConnectionTrait, dialect: Dialect) -> Vec<String> {
    let text = match dialect {
        Dialect::Sqlite => include_str!("sqlite.sql").to_owned(),
        Dialect::Postgres => {
            let query = dialect.statement("SELECT quote_ident(current_schema())", []);
            let row = db.query_one_raw(query).await.ok().flatten();
            let schema: String = row.and_then(|row| row.try_get_by_index(0).ok()).unwrap_or_default();
            include_str!("postgres.sql")
                .replace("{schema}", &schema)
                .replace("{identity}", dialect.identity())
        }
        Dialect::MariaDb | Dialect::MySql => {
            let (galera, isolation) = match dialect {
                // `@@transaction_isolation` exists only since MariaDB 11.1.
                Dialect::MariaDb => ("@@wsrep_on", "@@tx_isolation"),
                _ => ("FALSE", "@@transaction_isolation"),
            };
            include_str!("mysql.sql")
                .replace("{binary}", dialect.binary_collation())
                .replace("{galera}", galera)
                .replace("{isolation}", isolation)
        }
    };
    let text = text.replace("{mark}", MARK);
    text.split(NEXT).map(str::to_owned).collect()
}
