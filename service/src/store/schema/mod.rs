//! The schema: brought up to date by one process at a time, and checked before anything is written to it and while the service
//! runs.
//!
//! What stands in the database says whether this program may write to it, so that an upgrade needs no order: replicas of the
//! version before go on where every newer migration says that they can, and refuse writes at any other.

mod lock;
mod records;
mod steps;
mod tables;

use db_locks_migration::Step;
use sea_orm::{ConnectionTrait, DbErr};

use self::{
    lock::{Wait, connect, under_lock},
    records::Records,
    steps::Task,
};
use super::{
    StoreError,
    classify::{Purpose, classify},
    dialect::Dialect,
    pools::Pools,
    url::DatabaseOptions,
};

/// The first migration ever.
const FIRST: &str = "m20261123_000001_locks";

/// A migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its name.
    pub name: String,
    /// Whether it is applied.
    pub applied: bool,
    /// Whether this program knows it; if not, a newer version has applied it.
    pub known: bool,
}

/// The migrations that this program knows.
struct Known(Vec<Step>);

impl Known {
    fn new() -> Self {
        Self(db_locks_migration::steps())
    }

    fn steps(&self) -> &[Step] {
        &self.0
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|step| step.name() == name)
    }

    /// Those that are not applied, in their order.
    fn pending(&self, records: &Records) -> impl Iterator<Item = &Step> {
        self.0.iter().filter(|step| !records.has(step.name()))
    }

    /// Refuses a schema with a migration that this program does not know, unless it knows the oldest one that has to be known.
    fn check_not_newer(&self, records: &Records) -> Result<(), StoreError> {
        for (newer, oldest) in records.applied.iter().filter(|(name, _)| !self.has(name)) {
            let reason = match oldest {
                Some(oldest) if self.has(oldest) => continue,
                Some(oldest) => format!("with which only versions can work that know {oldest}"),
                None => "which is not marked as one that older versions can work with".to_owned(),
            };
            return Err(StoreError::Schema(format!(
                "it is newer than this version of db-locks: it has migration {newer}, {reason}; use the version that made \
                 it, or a newer one"
            )));
        }
        Ok(())
    }

    fn check_not_older(&self, records: &Records) -> Result<(), StoreError> {
        match self.pending(records).next() {
            Some(pending) => Err(StoreError::Schema(format!(
                "migration {} is not applied; run `db-locks migrate up`, or serve without DB_LOCKS_MIGRATE=false",
                pending.name()
            ))),
            None => Ok(()),
        }
    }
}

/// What a migration needs that a pooler of transactions has not: a session of its own.
const THROUGH_POOLER: &str = "DATABASE_URL leads to a pooler in transaction mode, through which the schema cannot be \
                              changed; set DB_LOCKS_NOTIFY_URL to a URL of the server itself, or run `db-locks migrate up` \
                              with that as DATABASE_URL";

/// Applies all migrations that are not applied. Where there are none, reading is all that the user has to be allowed.
pub async fn migrate_up(options: &DatabaseOptions) -> Result<(), StoreError> {
    if let Some(pools) = Box::pin(Pools::behind_transaction_pooling(options)).await? {
        let checked = check(&pools.general_pool, pools.dialect).await;
        return checked.map_err(|error| match error {
            StoreError::Schema(why) => StoreError::Schema(format!("{why}. {THROUGH_POOLER}")),
            other => other,
        });
    }
    let known = Known::new();
    let wait = &mut Wait::new(options.migration_wait());
    let (db, dialect) = connect(options, wait).await?;
    let records = Records::read(&db, dialect, &known).await.map_err(failed)?;
    known.check_not_newer(&records)?;
    let is_current = known.pending(&records).next().is_none();
    if !(is_current && records.are_our_own) {
        match Box::pin(under_lock(&db, dialect, wait, Task::Up)).await {
            // Only the records would have moved, and where they are they can be read.
            Err(error @ StoreError::Rejected(_)) if is_current => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the records of migrations stay in seaql_migrations"
                );
            }
            result => result?,
        }
    }
    Box::pin(tables::check_complete(&db, dialect)).await
}

/// Checks a schema that is not to be changed.
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
    past_pooler(options, Task::Down).await
}

/// Undoes all migrations and applies them again.
pub async fn migrate_redo(options: &DatabaseOptions) -> Result<(), StoreError> {
    past_pooler(options, Task::Redo).await
}

/// Carries out a task, unless a pooler of transactions stands before the server.
async fn past_pooler(options: &DatabaseOptions, task: Task) -> Result<(), StoreError> {
    if Box::pin(Pools::behind_transaction_pooling(options)).await?.is_some() {
        return Err(StoreError::Schema(THROUGH_POOLER.to_owned()));
    }
    let wait = &mut Wait::new(options.migration_wait());
    let (db, dialect) = connect(options, wait).await?;
    Box::pin(under_lock(&db, dialect, wait, task)).await
}

/// Lists all migrations known to the program, or to the database.
pub async fn migrate_status(options: &DatabaseOptions) -> Result<Vec<MigrationStatus>, StoreError> {
    let known = Known::new();
    let (db, dialect) = connect(options, &mut Wait::new(options.migration_wait())).await?;
    let records = Records::read(&db, dialect, &known).await.map_err(failed)?;
    let ours = known.steps().iter().map(|step| {
        let name = step.name().to_owned();
        MigrationStatus { applied: records.has(&name), name, known: true }
    });
    let newer = records.applied.iter().filter(|(name, _)| !known.has(name));
    let newer = newer.map(|(name, _)| MigrationStatus { name: name.clone(), applied: true, known: false });
    Ok(ours.chain(newer).collect())
}

/// Whether this program may write to the schema as it is now. Two short queries: it is asked again and again.
pub(super) async fn check(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    let known = Known::new();
    let records = Records::read(db, dialect, &known).await.map_err(failed)?;
    known.check_not_newer(&records)?;
    known.check_not_older(&records)
}

/// Sorts an error of a statement after whose failure nothing is left half done.
fn failed(error: DbErr) -> StoreError {
    classify(error, Purpose::Read)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn records(newer: &[(&str, Option<&str>)]) -> Records {
        let ours = Known::new().steps().iter().map(|step| (step.name().to_owned(), None)).collect::<Vec<_>>();
        let newer = newer.iter().map(|(name, oldest)| ((*name).to_owned(), oldest.map(str::to_owned)));
        Records { applied: ours.into_iter().chain(newer).collect(), are_our_own: true }
    }

    /// Guards invariant 1: what a newer schema needs to be written this program may not know.
    #[test]
    fn a_newer_migration_is_lived_with_only_if_it_says_so_and_asks_for_no_more_than_is_known() {
        let known = Known::new();
        let newest = known.steps().last().unwrap().name().to_owned();
        let check = |newer: &[(&str, Option<&str>)]| known.check_not_newer(&records(newer));
        check(&[]).unwrap();
        check(&[("m3", Some(FIRST))]).unwrap();
        check(&[("m3", Some(&newest)), ("m4", Some(FIRST))]).unwrap();
        for refused in [
            &[("m3", None)][..],
            &[("m3", Some("m3"))],
            &[("m3", Some(&newest)), ("m4", Some("m3"))],
            &[("m3", Some(&newest)), ("m4", None)],
        ] {
            assert!(matches!(check(refused), Err(StoreError::Schema(_))), "{refused:?}");
        }
    }
}
