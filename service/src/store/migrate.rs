//! The schema: brought up to date by one process at a time, and checked before anything is written to it.

use db_locks_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use super::{
    StoreError,
    classify::{Purpose, classify},
    connect::{DatabaseOptions, connect_alone},
    dialect::Dialect,
    pools::Pools,
};

/// A migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its name.
    pub name: String,
    /// Whether it is applied.
    pub applied: bool,
}

/// The lock under which migrations run: SeaORM's migrator takes none of its own.
const LOCK: &str = "db_locks_migrate";
/// The same for PostgreSQL, whose advisory locks are numbers: the ASCII codes of `dblocks`.
const LOCK_NUMBER: i64 = 0x0064_626c_6f63_6b73;

/// What a migration needs that a pooler of transactions has not: a session of its own.
const THROUGH_POOLER: &str = "DATABASE_URL leads to a pooler in transaction mode, through which the schema cannot be \
                              changed; set DB_LOCKS_NOTIFY_URL to a URL of the server itself, or run `db-locks migrate up` \
                              with that as DATABASE_URL";

/// Applies all migrations that are not applied.
pub async fn migrate_up(options: &DatabaseOptions) -> Result<(), StoreError> {
    if let Some(pools) = Pools::behind_transaction_pooling(options).await? {
        let checked = check_schema(&pools.general_pool, pools.dialect).await;
        return checked.map_err(|error| match error {
            StoreError::Schema(why) => StoreError::Schema(format!("{why}. {THROUGH_POOLER}")),
            other => other,
        });
    }
    alone(options, async |db| Migrator::up(db, None).await).await
}

/// Undoes the last migration.
pub async fn migrate_down(options: &DatabaseOptions) -> Result<(), StoreError> {
    alone(options, async |db| Migrator::down(db, Some(1)).await).await
}

/// Undoes all migrations and applies them again.
pub async fn migrate_redo(options: &DatabaseOptions) -> Result<(), StoreError> {
    alone(options, async |db| {
        Migrator::down(db, None).await?;
        Migrator::up(db, None).await
    })
    .await
}

/// Lists all migrations known to the program, or to the database.
pub async fn migrate_status(options: &DatabaseOptions) -> Result<Vec<MigrationStatus>, StoreError> {
    let (db, dialect) = connect_alone(options).await?;
    let applied = applied(&db, dialect).await?;
    let known = names();
    let unknown = applied.iter().filter(|name| !known.contains(name)).cloned();
    let unknown = unknown.map(|name| MigrationStatus { name, applied: true }).collect::<Vec<_>>();
    let known = known.into_iter().map(|name| MigrationStatus { applied: applied.contains(&name), name });
    Ok(known.chain(unknown).collect())
}

/// Runs a step of the migrator on a connection that holds the lock.
async fn alone(
    options: &DatabaseOptions,
    step: impl AsyncFnOnce(&DatabaseConnection) -> Result<(), DbErr>,
) -> Result<(), StoreError> {
    if Pools::behind_transaction_pooling(options).await?.is_some() {
        return Err(StoreError::Schema(THROUGH_POOLER.to_owned()));
    }
    let (db, dialect) = &connect_alone(options).await?;
    let failed = |error| classify(error, Purpose::Read);
    let (lock, unlock, undo) = match dialect {
        // A writing transaction keeps other migrators of the file out; DDL is part of it.
        Dialect::Sqlite => ("BEGIN IMMEDIATE".to_owned(), "COMMIT".to_owned(), "ROLLBACK".to_owned()),
        Dialect::Postgres => {
            let unlock = format!("SELECT pg_advisory_unlock({LOCK_NUMBER})");
            // Another replica's migration may take longer than a statement of the service may.
            let lock = format!(
                "SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock({LOCK_NUMBER})"
            );
            (lock, unlock.clone(), unlock)
        }
        Dialect::MariaDb | Dialect::MySql => {
            let unlock = format!("DO RELEASE_LOCK('{LOCK}')");
            (format!("DO GET_LOCK('{LOCK}', 300)"), unlock.clone(), unlock)
        }
    };
    db.execute_unprepared(&lock).await.map_err(failed)?;
    let result = match check_not_newer(db, *dialect).await {
        Ok(()) => step(db).await.map_err(failed),
        Err(newer) => Err(newer),
    };
    let end = if result.is_ok() { unlock } else { undo };
    db.execute_unprepared(&end).await.map_err(failed)?;
    result
}

/// Whether the schema is this program's, neither older nor newer.
pub(super) async fn check_schema(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    check_not_newer(db, dialect).await?;
    let applied = applied(db, dialect).await?;
    match names().iter().find(|name| !applied.contains(name)) {
        Some(pending) => Err(StoreError::Schema(format!(
            "migration {pending} is not applied; run `db-locks migrate up`, or serve without DB_LOCKS_MIGRATE=false"
        ))),
        None => Ok(()),
    }
}

async fn check_not_newer(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    let known = names();
    match applied(db, dialect).await?.into_iter().find(|name| !known.contains(name)) {
        Some(newer) => Err(StoreError::Schema(format!(
            "it has migration {newer}, which this version of db-locks does not know; use the version that made it, or a \
             newer one"
        ))),
        None => Ok(()),
    }
}

fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

/// The migrations that the database has; none where it has no table of them yet.
async fn applied(db: &impl ConnectionTrait, dialect: Dialect) -> Result<Vec<String>, StoreError> {
    let table = match dialect {
        Dialect::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
        Dialect::Postgres => "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL",
        Dialect::MariaDb | Dialect::MySql => {
            "SELECT 1 FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = 'seaql_migrations'"
        }
    };
    let read = async {
        if db.query_one_raw(dialect.statement(table, [])).await?.is_none() {
            return Ok(Vec::new());
        }
        let rows =
            db.query_all_raw(dialect.statement("SELECT version FROM seaql_migrations ORDER BY version", []));
        rows.await?.iter().map(|row| row.try_get_by_index(0)).collect()
    };
    read.await.map_err(|error| classify(error, Purpose::Read))
}
