//! The records of migrations, in two tables: `db_locks_migrations` has a row for each migration applied, and
//! `db_locks_compatibility` has, for a compatible migration, the oldest migration that a program must know.
//!
//! The first version recorded its migrations in `seaql_migrations`, which every program that uses SeaORM's migrations shares.
//! Its rows are copied once. They also stay there: replicas of the first version read that table to find out whether they are
//! ready, and would apply everything again if the rows were gone. Only where another program uses the table too, and the
//! first version therefore refuses it, our rows are deleted, because the other program refuses them.

use crate::SeededMap;
use db_locks_migration::{MIGRATIONS, Migration};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};

use super::super::dialect::Dialect;

/// The table that the first version shared with other programs.
const SHARED: &str = "seaql_migrations";
const APPLIED: &str = "db_locks_migrations";
const COMPATIBILITY: &str = "db_locks_compatibility";

/// The first migration ever.
const FIRST: &str = MIGRATIONS[0].name;

/// Whether this program knows a migration.
pub(super) fn is_known(name: &str) -> bool {
    MIGRATIONS.iter().any(|migration| migration.name == name)
}

/// The migrations that a database records as applied.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// The migrations applied, in their order. Compatible ones have the oldest migration that a program must know.
    pub(super) applied: Vec<(String, Option<String>)>,
    /// Whether the records are in a table of their own.
    pub(super) are_our_own: bool,
}

impl Records {
    pub(super) fn has(&self, name: &str) -> bool {
        self.applied.iter().any(|(applied, _)| applied == name)
    }

    /// The known migrations that are not applied, in their order.
    pub(super) fn pending(&self) -> impl Iterator<Item = &'static Migration> {
        MIGRATIONS.iter().filter(|migration| !self.has(migration.name))
    }

    /// The known migrations that are applied, in their order.
    pub(super) fn undoable(&self) -> impl DoubleEndedIterator<Item = &'static Migration> {
        MIGRATIONS.iter().filter(|migration| self.has(migration.name))
    }

    /// The migrations that a newer version applied, each with the oldest migration that a program must know.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &(String, Option<String>)> {
        self.applied.iter().filter(|(name, _)| !is_known(name))
    }

    /// Reads the records. Suits database users that may only read.
    pub(super) async fn read(db: &impl ConnectionTrait, dialect: Dialect) -> Result<Self, DbErr> {
        let tables = tables(db, dialect).await?;
        let has = |name: &str| tables.iter().any(|table| table == name);
        let are_our_own = has(APPLIED);
        let query = match (are_our_own, has(COMPATIBILITY)) {
            (true, true) => return Self::read_our_own(db, dialect).await,
            (true, false) => format!("SELECT version, NULL FROM {APPLIED} ORDER BY version"),
            (false, _) if has(SHARED) => format!("SELECT version, NULL FROM {SHARED} ORDER BY version"),
            (false, _) => return Ok(Self::default()),
        };
        let mut applied = Vec::new();
        for row in &db.query_all_raw(dialect.statement(&query, [])).await? {
            let name: String = row.try_get_by_index(0)?;
            // In the shared table, unknown names belong to other programs.
            if are_our_own || is_known(&name) {
                applied.push((name, row.try_get_by_index(1)?));
            }
        }
        Ok(Self { applied, are_our_own })
    }

    /// Reads the records from the two tables. Fails if one of them is missing.
    pub(super) async fn read_our_own(db: &impl ConnectionTrait, dialect: Dialect) -> Result<Self, DbErr> {
        let query = format!(
            "SELECT m.version, c.oldest FROM {APPLIED} m LEFT JOIN {COMPATIBILITY} c ON c.version = m.version \
             ORDER BY m.version"
        );
        let rows = db.query_all_raw(dialect.statement(&query, [])).await?;
        let record = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        let applied = rows.iter().map(record).collect::<Result<_, DbErr>>()?;
        Ok(Self { applied, are_our_own: true })
    }

    /// Creates the two tables, and copies the records of the first version.
    pub(super) async fn take_over(db: &impl ConnectionTrait, dialect: Dialect) -> Result<(), DbErr> {
        let (name, options) = match dialect {
            Dialect::Sqlite | Dialect::Postgres => ("VARCHAR(255)", ""),
            Dialect::MariaDb | Dialect::MySql => ("VARCHAR(255) CHARACTER SET utf8mb4", " ENGINE = InnoDB"),
        };
        for columns in [
            format!(
                "{COMPATIBILITY} (version {name} NOT NULL, oldest {name} NOT NULL, PRIMARY KEY (version)){options}"
            ),
            format!(
                "{APPLIED} (version {name} NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (version)){options}"
            ),
        ] {
            db.execute_unprepared(&format!("CREATE TABLE IF NOT EXISTS {columns}")).await?;
        }
        let is_new = Self::read(db, dialect).await?.applied.is_empty();
        if !is_new || !tables(db, dialect).await?.iter().any(|table| table == SHARED) {
            return Ok(());
        }
        let mut has_other_programs = false;
        let mut ours = SeededMap::default();
        let rows = db
            .query_all_raw(dialect.statement(&format!("SELECT version, applied_at FROM {SHARED}"), []))
            .await?;
        for row in &rows {
            let name: String = row.try_get_by_index(0)?;
            if is_known(&name) {
                ours.insert(name, row.try_get_by_index::<i64>(1)?);
            } else {
                has_other_programs = true;
            }
        }
        for migration in MIGRATIONS {
            let Some(applied_at) = ours.get(migration.name) else { continue };
            let insert = dialect.sql(&format!("INSERT INTO {APPLIED} (version, applied_at) VALUES (?, ?)"));
            let values = [Value::from(migration.name), Value::from(*applied_at)];
            db.execute_raw(dialect.statement(&insert, values)).await?;
            record_compatibility(db, dialect, migration).await?;
            if has_other_programs {
                delete(db, dialect, SHARED, migration.name).await?;
            }
        }
        Ok(())
    }

    /// Records that a migration was applied.
    pub(super) async fn add(
        db: &impl ConnectionTrait,
        dialect: Dialect,
        migration: &Migration,
    ) -> Result<(), DbErr> {
        let seconds = match dialect {
            Dialect::Sqlite | Dialect::Postgres => "{now} / 1000",
            Dialect::MariaDb | Dialect::MySql => "{now} DIV 1000",
        };
        let insert =
            dialect.sql(&format!("INSERT INTO {APPLIED} (version, applied_at) VALUES (?, {seconds})"));
        db.execute_raw(dialect.statement(&insert, [Value::from(migration.name)])).await?;
        record_compatibility(db, dialect, migration).await?;
        if migration.oldest.is_none() {
            refuse_first_version(db, dialect, migration.name).await?;
        }
        Ok(())
    }

    /// Records that a migration was undone.
    pub(super) async fn remove(db: &impl ConnectionTrait, dialect: Dialect, name: &str) -> Result<(), DbErr> {
        let tables = tables(db, dialect).await?;
        for table in tables.iter().map(String::as_str) {
            delete(db, dialect, table, name).await?;
        }
        Ok(())
    }
}

async fn record_compatibility(
    db: &impl ConnectionTrait,
    dialect: Dialect,
    migration: &Migration,
) -> Result<(), DbErr> {
    delete(db, dialect, COMPATIBILITY, migration.name).await?;
    let Some(oldest) = migration.oldest else { return Ok(()) };
    let insert = dialect.sql(&format!("INSERT INTO {COMPATIBILITY} (version, oldest) VALUES (?, ?)"));
    let values = [Value::from(migration.name), Value::from(oldest)];
    db.execute_raw(dialect.statement(&insert, values)).await.map(drop)
}

/// If programs of the first version have run here, records a breaking migration in their table, too. They then refuse
/// to start.
async fn refuse_first_version(db: &impl ConnectionTrait, dialect: Dialect, name: &str) -> Result<(), DbErr> {
    if !tables(db, dialect).await?.iter().any(|table| table == SHARED) {
        return Ok(());
    }
    let was_here = dialect.sql(&format!("SELECT 1 FROM {SHARED} WHERE version = ?"));
    if db.query_one_raw(dialect.statement(&was_here, [Value::from(FIRST)])).await?.is_none() {
        return Ok(());
    }
    let insert = dialect.sql(&format!("INSERT INTO {SHARED} (version, applied_at) VALUES (?, 0)"));
    db.execute_raw(dialect.statement(&insert, [Value::from(name)])).await.map(drop)
}

async fn delete(db: &impl ConnectionTrait, dialect: Dialect, table: &str, name: &str) -> Result<(), DbErr> {
    let delete = dialect.sql(&format!("DELETE FROM {table} WHERE version = ?"));
    db.execute_raw(dialect.statement(&delete, [Value::from(name)])).await.map(drop)
}

/// The names of those of the three tables that exist.
async fn tables(db: &impl ConnectionTrait, dialect: Dialect) -> Result<Vec<String>, DbErr> {
    let query = match dialect {
        Dialect::Sqlite => format!(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('{APPLIED}', '{COMPATIBILITY}', '{SHARED}')"
        ),
        Dialect::Postgres => format!(
            "SELECT name FROM unnest(ARRAY['{APPLIED}', '{COMPATIBILITY}', '{SHARED}']) AS t (name) \
             WHERE to_regclass(name) IS NOT NULL"
        ),
        Dialect::MariaDb | Dialect::MySql => format!(
            "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_name IN ('{APPLIED}', '{COMPATIBILITY}', '{SHARED}')"
        ),
    };
    let rows = db.query_all_raw(dialect.statement(&query, [])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
