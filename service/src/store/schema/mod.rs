//! Brings the schema up to date, by one process at a time. Checks the schema before the service writes to it and while
//! the service runs.
//!
//! The records in the database say whether this program may write to it, so an upgrade needs no order: replicas of the
//! version before go on as long as every newer migration is compatible with them. Otherwise they refuse writes.

mod change;
mod cluster_lock;
mod lock;
mod records;
mod tables;

use db_locks_migration::MIGRATIONS;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use self::{
    change::SchemaChange,
    lock::{Wait, connect, under_lock},
    records::{Records, is_known},
};
use super::{
    StoreError,
    classify::{Purpose, classify},
    dialect::Dialect,
    pools::Pools,
    routines,
    url::DatabaseOptions,
};

/// A migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The name of the migration.
    pub name: String,
    /// Whether the migration is applied.
    pub applied: bool,
    /// Whether this program knows the migration. If not, a newer version has applied it.
    pub known: bool,
}

/// Refuses a schema with a migration that this program does not know. A compatible migration is accepted: it names the
/// oldest migration that a program must know, and this program knows that one.
fn check_not_newer(records: &Records) -> Result<(), StoreError> {
    for (newer, oldest) in records.unknown() {
        let reason = match oldest {
            Some(oldest) if is_known(oldest) => continue,
            Some(oldest) => format!("with which only versions can work that know {oldest}"),
            None => "which is not marked as one that older versions can work with".to_owned(),
        };
        return Err(StoreError::Schema(format!(
            "it is newer than this version of db-locks: it has migration {newer}, {reason}; use the version that made it, or \
             a newer one"
        )));
    }
    Ok(())
}

fn check_not_older(records: &Records) -> Result<(), StoreError> {
    match records.pending().next() {
        Some(pending) => Err(StoreError::Schema(format!(
            "migration {} is not applied; run `db-locks migrate up`, or serve without DB_LOCKS_MIGRATE=false",
            pending.name
        ))),
        None => Ok(()),
    }
}

/// Why the schema cannot be changed through a pooler in transaction mode: a migration needs a session of its own.
const THROUGH_POOLER: &str = "DATABASE_URL leads to a pooler in transaction mode, through which the schema cannot be \
                              changed; set DB_LOCKS_NOTIFY_URL to a URL of the server itself, or run `db-locks migrate up` \
                              with that as DATABASE_URL";

/// Applies all pending migrations. If there are none, the database user only needs the right to read.
pub async fn migrate_up(options: &DatabaseOptions) -> Result<(), StoreError> {
    if let Some(pools) = Box::pin(Pools::behind_transaction_pooling(options)).await? {
        let checked = check(&pools.general_pool, pools.dialect).await;
        return checked.map_err(|error| match error {
            StoreError::Schema(why) => StoreError::Schema(format!("{why}. {THROUGH_POOLER}")),
            other => other,
        });
    }
    let wait = &mut Wait::new(options.migration_wait());
    let (db, dialect) = connect(options, wait).await?;
    let records = Records::read(&db, dialect).await.map_err(failed)?;
    check_not_newer(&records)?;
    let is_current = records.pending().next().is_none();
    if !(is_current && records.are_our_own) {
        match Box::pin(under_lock(&db, dialect, wait, SchemaChange::Up)).await {
            // The schema is complete. Only its records were not moved, and they can be read where they are.
            Err(error @ StoreError::Rejected(_)) if is_current => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the records of migrations stay in seaql_migrations"
                );
            }
            result => result?,
        }
    }
    create_routines(&db, dialect, wait).await;
    Box::pin(tables::check_complete(&db, dialect)).await
}

/// Creates the routines that users call, if they are missing. On MySQL a transaction that called the guard keeps the
/// routine in use until it ends. Meanwhile the creation waits, and every new caller of the guard waits behind it.
async fn create_routines(db: &DatabaseConnection, dialect: Dialect, wait: &mut Wait) {
    while let Err(error) = routines::create_if_missing(db, dialect).await {
        let error = classify(error, Purpose::Read);
        let may_go = matches!(error, StoreError::Blocked(_) | StoreError::Transient(_));
        if !may_go || wait.pause("a transaction that called db_locks_guard").await.is_err() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "db_locks_guard cannot be created, so no lock can be guarded: run `db-locks migrate up` as a user who may \
                 create routines"
            );
            return;
        }
    }
}

/// Checks a schema without changing it.
pub async fn check_schema(options: &DatabaseOptions) -> Result<(), StoreError> {
    if let Some(pools) = Box::pin(Pools::behind_transaction_pooling(options)).await? {
        return check(&pools.general_pool, pools.dialect).await;
    }
    let (db, dialect) = connect(options, &mut Wait::new(options.migration_wait())).await?;
    check(&db, dialect).await?;
    Box::pin(tables::check_complete(&db, dialect)).await
}

/// Undoes the last migration.
pub async fn migrate_down(options: &DatabaseOptions) -> Result<(), StoreError> {
    change_schema(options, SchemaChange::Down).await.map(drop)
}

/// Undoes all migrations and applies them again.
pub async fn migrate_redo(options: &DatabaseOptions) -> Result<(), StoreError> {
    let (db, dialect) = change_schema(options, SchemaChange::Redo).await?;
    create_routines(&db, dialect, &mut Wait::new(options.migration_wait())).await;
    Ok(())
}

/// Changes the schema, unless the URL leads to a pooler in transaction mode.
async fn change_schema(
    options: &DatabaseOptions,
    change: SchemaChange,
) -> Result<(DatabaseConnection, Dialect), StoreError> {
    if Box::pin(Pools::behind_transaction_pooling(options)).await?.is_some() {
        return Err(StoreError::Schema(THROUGH_POOLER.to_owned()));
    }
    let wait = &mut Wait::new(options.migration_wait());
    let (db, dialect) = connect(options, wait).await?;
    Box::pin(under_lock(&db, dialect, wait, change)).await?;
    Ok((db, dialect))
}

/// Lists all migrations known to the program, or to the database.
pub async fn migrate_status(options: &DatabaseOptions) -> Result<Vec<MigrationStatus>, StoreError> {
    let (db, dialect) = connect(options, &mut Wait::new(options.migration_wait())).await?;
    let records = Records::read(&db, dialect).await.map_err(failed)?;
    let ours = MIGRATIONS.iter().map(|migration| {
        let name = migration.name.to_owned();
        MigrationStatus { applied: records.has(&name), name, known: true }
    });
    let newer = records.unknown();
    let newer = newer.map(|(name, _)| MigrationStatus { name: name.clone(), applied: true, known: false });
    Ok(ours.chain(newer).collect())
}

/// Fails if this program may not write to the schema as it is now.
async fn check(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    let records = Records::read(db, dialect).await.map_err(failed)?;
    check_not_newer(&records)?;
    check_not_older(&records)
}

/// [`check`] for a running service, which calls it often. If the tables are as they were at start, this is one query.
pub(super) async fn check_again(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    match Records::read_our_own(db, dialect).await {
        Ok(records) => check_not_newer(&records).and_then(|()| check_not_older(&records)),
        Err(_) => check(db, dialect).await,
    }
}

/// Classifies the error of a statement that leaves nothing half done when it fails.
fn failed(error: DbErr) -> StoreError {
    classify(error, Purpose::Read)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn records(newer: &[(&str, Option<&str>)]) -> Records {
        let ours = MIGRATIONS.iter().map(|migration| (migration.name.to_owned(), None));
        let newer = newer.iter().map(|(name, oldest)| ((*name).to_owned(), oldest.map(str::to_owned)));
        Records { applied: ours.chain(newer).collect(), are_our_own: true }
    }

    /// Guards invariant 1: this program may not know how a newer schema has to be written.
    #[test]
    fn a_newer_migration_is_accepted_only_if_it_is_compatible_with_this_program() {
        let first = MIGRATIONS[0].name;
        let newest = MIGRATIONS.last().unwrap().name;
        let check = |newer: &[(&str, Option<&str>)]| check_not_newer(&records(newer));
        check(&[]).unwrap();
        check(&[("m3", Some(first))]).unwrap();
        check(&[("m3", Some(newest)), ("m4", Some(first))]).unwrap();
        for refused in [
            &[("m3", None)][..],
            &[("m3", Some("m3"))],
            &[("m3", Some(newest)), ("m4", Some("m3"))],
            &[("m3", Some(newest)), ("m4", None)],
        ] {
            assert!(matches!(check(refused), Err(StoreError::Schema(_))), "{refused:?}");
        }
    }
}
