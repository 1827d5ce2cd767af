//! What is done to the schema, under the lock.

use db_locks_migration::{SchemaManager, Step};
use sea_orm::ConnectionTrait;

use super::{super::dialect::Dialect, Known, Records, StoreError, failed, lock::check_held, tables};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Apply all migrations that are not applied.
    Up,
    /// Undo the last one.
    Down,
    /// Undo all and apply them again.
    Redo,
}

impl Task {
    pub(super) async fn carry_out(
        self,
        manager: &SchemaManager<'_>,
        dialect: Dialect,
    ) -> Result<(), StoreError> {
        let known = Known::new();
        let db = manager.get_connection();
        if dialect == Dialect::Postgres {
            create_schema(db).await?;
        }
        let records = Records::read(db, dialect, &known).await.map_err(failed)?;
        known.check_not_newer(&records)?;
        let newer = records.applied.iter().find(|(name, _)| !known.has(name));
        if let (Self::Down | Self::Redo, Some((newer, _))) = (self, newer) {
            return Err(StoreError::Schema(format!(
                "migration {newer} comes first, which only a newer version can undo"
            )));
        }
        if let Self::Down | Self::Redo = self {
            let applied = known.steps().iter().rev().filter(|step| records.has(step.name()));
            for step in applied.take(if self == Self::Down { 1 } else { usize::MAX }) {
                undo(step, manager, dialect).await?;
            }
        }
        if let Self::Up | Self::Redo = self {
            apply_pending(&known, manager, dialect).await?;
        }
        Ok(())
    }
}

async fn apply_pending(
    known: &Known,
    manager: &SchemaManager<'_>,
    dialect: Dialect,
) -> Result<(), StoreError> {
    let db = manager.get_connection();
    Records::take_over(db, dialect, known).await.map_err(failed)?;
    let records = Records::read(db, dialect, known).await.map_err(failed)?;
    tables::check_not_foreign(db, dialect, &records).await?;
    for step in known.pending(&records) {
        check_held(db, dialect).await?;
        tracing::info!(migration = step.name(), "applying a migration");
        let applied = async {
            step.migration.up(manager).await?;
            Records::add(db, dialect, step).await
        };
        applied.await.map_err(|error| with_name(step, "applied", failed(error)))?;
    }
    tables::check_complete(db, dialect).await
}

async fn undo(step: &Step, manager: &SchemaManager<'_>, dialect: Dialect) -> Result<(), StoreError> {
    let db = manager.get_connection();
    check_held(db, dialect).await?;
    tracing::info!(migration = step.name(), "undoing a migration");
    let undone = async {
        step.migration.down(manager).await?;
        Records::remove(db, dialect, step.name()).await
    };
    undone.await.map_err(|error| with_name(step, "undone", failed(error)))
}

/// A refusal with the name of the migration, and what to do where rights are missing.
fn with_name(step: &Step, what: &str, error: StoreError) -> StoreError {
    let StoreError::Rejected(source) = error else { return error };
    let said = source.to_string();
    let advice = if said.contains("denied") || said.contains("must be owner") {
        "; run `db-locks migrate up` as a user who may change the schema, and serve as this one afterwards"
    } else {
        ""
    };
    StoreError::Schema(format!("migration {} cannot be {what}: {said}{advice}", step.name()))
}

/// Creates the schema that the URL names by `search_path`, where it is missing.
async fn create_schema(db: &impl ConnectionTrait) -> Result<(), StoreError> {
    let query = "SELECT current_setting('search_path') WHERE current_schema() IS NULL";
    let statement = Dialect::Postgres.statement(query, []);
    let Some(row) = db.query_one_raw(statement).await.map_err(failed)? else { return Ok(()) };
    let path: String = row.try_get_by_index(0).map_err(failed)?;
    let names = path.split(',').map(|name| name.trim().trim_matches('"'));
    let Some(name) = names.into_iter().find(|name| !name.is_empty() && *name != "$user") else {
        return Ok(());
    };
    tracing::info!(schema = name, "creating the schema");
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", name.replace('"', "\"\""));
    db.execute_unprepared(&create).await.map_err(failed)?;
    Ok(())
}
