//! The changes of the schema. They run under the lock.

use db_locks_migration::{MIGRATIONS, Migration, Sql};
use sea_orm::{ConnectionTrait, DbErr};

use super::{
    super::dialect::Dialect, Records, StoreError, check_not_newer, failed, lock::check_held, tables,
};

/// A change of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaChange {
    /// Apply all migrations that are not applied.
    Up,
    /// Undo the last applied migration.
    Down,
    /// Undo all migrations and apply them again.
    Redo,
}

impl SchemaChange {
    pub(super) async fn run(self, db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
        if dialect == Dialect::Postgres {
            create_schema(db).await?;
        }
        let records = Records::read(db, dialect).await.map_err(failed)?;
        check_not_newer(&records)?;
        if let (Self::Down | Self::Redo, Some((newer, _))) = (self, records.unknown().next()) {
            return Err(StoreError::Schema(format!(
                "migration {newer} comes first, which only a newer version can undo"
            )));
        }
        if let Self::Down | Self::Redo = self {
            let count = if self == Self::Down { 1 } else { MIGRATIONS.len() };
            for migration in records.undoable().rev().take(count) {
                undo(migration, db, dialect).await?;
            }
        }
        if let Self::Up | Self::Redo = self {
            apply_pending(db, dialect).await?;
        }
        Ok(())
    }
}

async fn apply_pending(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    Records::take_over(db, dialect).await.map_err(failed)?;
    let records = Records::read(db, dialect).await.map_err(failed)?;
    tables::check_not_foreign(db, dialect, &records).await?;
    for migration in records.pending() {
        check_held(db, dialect).await?;
        tracing::info!(migration = migration.name, "applying a migration");
        let applied = async {
            execute(db, dialect, migration.up).await?;
            Records::add(db, dialect, migration).await
        };
        applied.await.map_err(|error| with_name(migration, "applied", failed(error)))?;
    }
    tables::check_complete(db, dialect).await
}

async fn undo(migration: &Migration, db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), StoreError> {
    check_held(db, dialect).await?;
    tracing::info!(migration = migration.name, "undoing a migration");
    let undone = async {
        execute(db, dialect, migration.down).await?;
        Records::remove(db, dialect, migration.name).await
    };
    undone.await.map_err(|error| with_name(migration, "undone", failed(error)))
}

async fn execute(db: &impl ConnectionTrait, dialect: Dialect, sql: Sql) -> Result<(), DbErr> {
    for statement in statements(dialect, sql) {
        db.execute_unprepared(&statement).await?;
    }
    Ok(())
}

/// The statements of a migration as the database receives them.
fn statements(dialect: Dialect, sql: Sql) -> impl Iterator<Item = String> {
    let templates = match dialect {
        Dialect::Sqlite => sql.sqlite,
        Dialect::Postgres => sql.postgres,
        Dialect::MariaDb | Dialect::MySql => sql.mysql,
    };
    templates.iter().map(move |template| template.replace("{binary}", dialect.binary_collation()))
}

/// Adds the name of the migration to a refusal by the database, and advice if rights are missing.
fn with_name(migration: &Migration, what: &str, error: StoreError) -> StoreError {
    let StoreError::Rejected(source) = error else { return error };
    let message = source.to_string();
    let advice = if message.contains("denied") || message.contains("must be owner") {
        "; run `db-locks migrate up` as a user who may change the schema, and serve as this one afterwards"
    } else {
        ""
    };
    StoreError::Schema(format!("migration {} cannot be {what}: {message}{advice}", migration.name))
}

/// Creates the schema that the URL names by `search_path`, if it is missing.
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Databases in use have run these statements, so a migration that has landed must never change. A new migration only
    /// adds lines to the snapshot; any other difference is a mistake in the code, not in the snapshot.
    #[test]
    fn migrations_that_have_landed_never_change() -> std::fmt::Result {
        for (name, dialect) in [
            ("sqlite", Dialect::Sqlite),
            ("postgres", Dialect::Postgres),
            ("mariadb", Dialect::MariaDb),
            ("mysql", Dialect::MySql),
        ] {
            let mut text = String::new();
            for migration in MIGRATIONS {
                for (direction, sql) in [("up", migration.up), ("down", migration.down)] {
                    writeln!(text, "-- {name}: {} {direction}", migration.name)?;
                    for statement in statements(dialect, sql) {
                        writeln!(text, "{statement};")?;
                    }
                }
            }
            insta::assert_snapshot!(format!("migrations_{name}"), text);
        }
        Ok(())
    }
}
