//! Which migrations a database has, as two tables tell: `db_locks_migrations` with a row for each that was applied, and
//! `db_locks_compatibility` with the oldest migration that a program has to know to live with one.
//!
//! The first version recorded its migrations in `seaql_migrations`, which is the table of every program that uses SeaORM.
//! What stands there is copied once. Replicas of the first version read that table to tell whether they are ready, and would
//! apply everything anew if their rows were gone: so the rows stay. Only where another program uses the table too, and
//! the first version therefore refuses it, our rows are taken out of that program's way.

use rustc_hash::FxHashMap;
use sea_orm::{ConnectionTrait, DbErr, Value};

use super::{super::dialect::Dialect, Known};

/// The table that the first version shared with other programs.
const SHARED: &str = "seaql_migrations";
const MIGRATIONS: &str = "db_locks_migrations";
const COMPATIBILITY: &str = "db_locks_compatibility";

/// What a database records of its migrations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// The migrations applied, in their order, each with the oldest one that a program has to know to live with it, where
    /// there is one.
    pub(super) applied: Vec<(String, Option<String>)>,
    /// Whether they stand in a table of their own.
    pub(super) are_our_own: bool,
}

impl Records {
    pub(super) fn has(&self, name: &str) -> bool {
        self.applied.iter().any(|(applied, _)| applied == name)
    }

    /// Reads them. Reads only, so that a user who may do no more can.
    pub(super) async fn read(
        db: &impl ConnectionTrait,
        dialect: Dialect,
        known: &Known,
    ) -> Result<Self, DbErr> {
        let tables = tables(db, dialect).await?;
        let has = |name: &str| tables.iter().any(|table| table == name);
        let are_our_own = has(MIGRATIONS);
        let query = match (are_our_own, has(COMPATIBILITY)) {
            (true, true) => format!(
                "SELECT m.version, c.oldest FROM {MIGRATIONS} m LEFT JOIN {COMPATIBILITY} c ON c.version = m.version \
                 ORDER BY m.version"
            ),
            (true, false) => format!("SELECT version, NULL FROM {MIGRATIONS} ORDER BY version"),
            (false, _) if has(SHARED) => format!("SELECT version, NULL FROM {SHARED} ORDER BY version"),
            (false, _) => return Ok(Self::default()),
        };
        let mut applied = Vec::new();
        for row in &db.query_all_raw(dialect.statement(&query, [])).await? {
            let name: String = row.try_get_by_index(0)?;
            // In the shared table other names are other programs'.
            if are_our_own || known.has(&name) {
                applied.push((name, row.try_get_by_index(1)?));
            }
        }
        Ok(Self { applied, are_our_own })
    }

    /// Creates the tables, and copies what the first version recorded.
    pub(super) async fn take_over(
        db: &impl ConnectionTrait,
        dialect: Dialect,
        known: &Known,
    ) -> Result<(), DbErr> {
        let (name, options) = match dialect {
            Dialect::Sqlite | Dialect::Postgres => ("VARCHAR(255)", ""),
            Dialect::MariaDb | Dialect::MySql => ("VARCHAR(255) CHARACTER SET utf8mb4", " ENGINE = InnoDB"),
        };
        for columns in [
            format!(
                "{COMPATIBILITY} (version {name} NOT NULL, oldest {name} NOT NULL, PRIMARY KEY (version)){options}"
            ),
            format!(
                "{MIGRATIONS} (version {name} NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (version)){options}"
            ),
        ] {
            db.execute_unprepared(&format!("CREATE TABLE IF NOT EXISTS {columns}")).await?;
        }
        let is_new = Self::read(db, dialect, known).await?.applied.is_empty();
        if !is_new || !tables(db, dialect).await?.iter().any(|table| table == SHARED) {
            return Ok(());
        }
        let mut is_others_too = false;
        let mut ours = FxHashMap::default();
        let rows = db
            .query_all_raw(dialect.statement(&format!("SELECT version, applied_at FROM {SHARED}"), []))
            .await?;
        for row in &rows {
            let name: String = row.try_get_by_index(0)?;
            if known.has(&name) {
                ours.insert(name, row.try_get_by_index::<i64>(1)?);
            } else {
                is_others_too = true;
            }
        }
        for (step, applied_at) in known.steps().iter().filter_map(|step| Some((step, ours.get(step.name())?)))
        {
            let insert =
                dialect.sql(&format!("INSERT INTO {MIGRATIONS} (version, applied_at) VALUES (?, ?)"));
            let values = [Value::from(step.name()), Value::from(*applied_at)];
            db.execute_raw(dialect.statement(&insert, values)).await?;
            note_compatibility(db, dialect, step).await?;
            if is_others_too {
                delete(db, dialect, SHARED, step.name()).await?;
            }
        }
        Ok(())
    }

    /// Records that a migration was applied.
    pub(super) async fn add(
        db: &impl ConnectionTrait,
        dialect: Dialect,
        step: &db_locks_migration::Step,
    ) -> Result<(), DbErr> {
        let seconds = match dialect {
            Dialect::Sqlite | Dialect::Postgres => "{now} / 1000",
            Dialect::MariaDb | Dialect::MySql => "{now} DIV 1000",
        };
        let insert =
            dialect.sql(&format!("INSERT INTO {MIGRATIONS} (version, applied_at) VALUES (?, {seconds})"));
        db.execute_raw(dialect.statement(&insert, [Value::from(step.name())])).await?;
        note_compatibility(db, dialect, step).await?;
        if step.oldest.is_none() {
            fence_first_version(db, dialect, step.name()).await?;
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

async fn note_compatibility(
    db: &impl ConnectionTrait,
    dialect: Dialect,
    step: &db_locks_migration::Step,
) -> Result<(), DbErr> {
    delete(db, dialect, COMPATIBILITY, step.name()).await?;
    let Some(oldest) = step.oldest else { return Ok(()) };
    let insert = dialect.sql(&format!("INSERT INTO {COMPATIBILITY} (version, oldest) VALUES (?, ?)"));
    let values = [Value::from(step.name()), Value::from(oldest)];
    db.execute_raw(dialect.statement(&insert, values)).await.map(drop)
}

/// Where programs of the first version have been, a migration that they cannot live with is recorded where they look, too:
/// then they refuse to start.
async fn fence_first_version(db: &impl ConnectionTrait, dialect: Dialect, name: &str) -> Result<(), DbErr> {
    if !tables(db, dialect).await?.iter().any(|table| table == SHARED) {
        return Ok(());
    }
    let been = dialect.sql(&format!("SELECT 1 FROM {SHARED} WHERE version = ?"));
    if db.query_one_raw(dialect.statement(&been, [Value::from(super::FIRST)])).await?.is_none() {
        return Ok(());
    }
    let insert = dialect.sql(&format!("INSERT INTO {SHARED} (version, applied_at) VALUES (?, 0)"));
    db.execute_raw(dialect.statement(&insert, [Value::from(name)])).await.map(drop)
}

async fn delete(db: &impl ConnectionTrait, dialect: Dialect, table: &str, name: &str) -> Result<(), DbErr> {
    let delete = dialect.sql(&format!("DELETE FROM {table} WHERE version = ?"));
    db.execute_raw(dialect.statement(&delete, [Value::from(name)])).await.map(drop)
}

/// Those of the tables that are there.
async fn tables(db: &impl ConnectionTrait, dialect: Dialect) -> Result<Vec<String>, DbErr> {
    let query = match dialect {
        Dialect::Sqlite => format!(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('{MIGRATIONS}', '{COMPATIBILITY}', '{SHARED}')"
        ),
        Dialect::Postgres => format!(
            "SELECT name FROM unnest(ARRAY['{MIGRATIONS}', '{COMPATIBILITY}', '{SHARED}']) AS t (name) \
             WHERE to_regclass(name) IS NOT NULL"
        ),
        Dialect::MariaDb | Dialect::MySql => format!(
            "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_name IN ('{MIGRATIONS}', '{COMPATIBILITY}', '{SHARED}')"
        ),
    };
    let rows = db.query_all_raw(dialect.statement(&query, [])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
