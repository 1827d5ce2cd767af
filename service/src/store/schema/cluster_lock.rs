//! The lock under which migrations run on a Galera cluster, where `GET_LOCK` is local to a node: a row that names its holder.
//!
//! The row is written like any other: if two nodes write it at once, one of them is refused. The lock is held for a
//! limited time, since a node does not notice that a session of another node has ended. Its holder renews it before
//! each migration. The session keeps the holder's name, so a connection that replaced a broken one does not hold the
//! lock.

use sea_orm::{ConnectionTrait, DbErr, Value};

use super::super::dialect::Dialect;

const TABLE: &str = "db_locks_migration_lock";
/// How long the lock is held without a renewal, in milliseconds.
const HELD_MS: i64 = 60_000;

/// Whether the server is a node of a cluster.
pub(super) async fn is_needed(db: &impl ConnectionTrait, dialect: Dialect) -> Result<bool, DbErr> {
    if dialect != Dialect::MariaDb {
        return Ok(false);
    }
    let row = db.query_one_raw(dialect.statement("SELECT CAST(@@wsrep_on AS SIGNED)", [])).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index::<i64>(0).map(|on| on != 0))
}

/// Tries to take the lock. Returns whether this session holds it.
pub(super) async fn take(db: &impl ConnectionTrait, dialect: Dialect) -> Result<bool, DbErr> {
    // Not with each try: a change of a table disturbs sessions that write to it.
    if !is_there(db, dialect).await? {
        db.execute_unprepared(&format!(
            "CREATE TABLE IF NOT EXISTS {TABLE} (id INT NOT NULL, holder VARBINARY(36) NOT NULL, \
             held_until_ms BIGINT NOT NULL, PRIMARY KEY (id)) ENGINE = InnoDB"
        ))
        .await?;
    }
    db.execute_unprepared("SET @db_locks_holder = COALESCE(@db_locks_holder, CAST(UUID() AS BINARY))")
        .await?;
    // An assignment sees the results of earlier ones.
    let take = dialect.sql(&format!(
        "INSERT INTO {TABLE} (id, holder, held_until_ms) VALUES (1, @db_locks_holder, {{now}} + ?) \
         ON DUPLICATE KEY UPDATE holder = IF(held_until_ms <= {{now}}, VALUES(holder), holder), \
         held_until_ms = IF(holder = VALUES(holder), VALUES(held_until_ms), held_until_ms)"
    ));
    db.execute_raw(dialect.statement(&take, [Value::from(HELD_MS)])).await?;
    is_held(db, dialect).await
}

/// Holds the lock for longer. Returns whether this session still held it. It also did if its time was up but nobody
/// else has taken the lock.
pub(super) async fn keep(db: &impl ConnectionTrait, dialect: Dialect) -> Result<bool, DbErr> {
    let keep = dialect.sql(&format!(
        "UPDATE {TABLE} SET held_until_ms = {{now}} + ? WHERE id = 1 AND holder = @db_locks_holder"
    ));
    db.execute_raw(dialect.statement(&keep, [Value::from(HELD_MS)])).await?;
    is_held(db, dialect).await
}

/// Gives the lock back.
pub(super) async fn give_back(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    let give_back =
        format!("UPDATE {TABLE} SET held_until_ms = 0 WHERE id = 1 AND holder = @db_locks_holder");
    db.execute_unprepared(&give_back).await.map(drop)
}

async fn is_there(db: &impl ConnectionTrait, dialect: Dialect) -> Result<bool, DbErr> {
    let tables = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{TABLE}'"
    );
    Ok(db.query_one_raw(dialect.statement(&tables, [])).await?.is_some())
}

async fn is_held(db: &impl ConnectionTrait, dialect: Dialect) -> Result<bool, DbErr> {
    let holder = format!(
        "SELECT CAST(COALESCE(holder = @db_locks_holder, FALSE) AS SIGNED) FROM {TABLE} WHERE id = 1"
    );
    let row = db.query_one_raw(dialect.statement(&holder, [])).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index::<i64>(0).map(|held| held != 0))
}
