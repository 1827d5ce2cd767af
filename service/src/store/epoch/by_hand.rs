//! Raises the epoch by hand, after a backup was restored: all earlier grants end, and no write or guard of theirs
//! passes.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};

use super::{
    check::server_of,
    identity::Identity,
    sql::{self, COLUMNS, seconds_since_2026},
};
use crate::{
    domain::Epoch,
    store::{
        StoreError,
        classify::{Purpose, classify},
        connect::connect_alone,
        dialect::Dialect,
        url::DatabaseOptions,
    },
};

/// The result of a raise by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaisedByHand {
    /// The epoch from now on.
    pub epoch: Epoch,
    /// The number of active grants that were ended.
    pub ended: i64,
}

/// Raises the epoch, ends all grants, and removes them from their guard rows.
///
/// # Errors
/// If the database fails. Nothing was changed then.
pub async fn raise_epoch(options: &DatabaseOptions) -> Result<RaisedByHand, StoreError> {
    let (db, dialect) = Box::pin(connect_alone(options)).await?;
    Box::pin(raise(&db, dialect)).await.map_err(|error| classify(error, Purpose::Read))
}

async fn raise(db: &DatabaseConnection, dialect: Dialect) -> Result<RaisedByHand, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: (dialect == Dialect::Sqlite).then_some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let server = find_server(db, dialect).await;
    let transaction = db.begin_with_options(options).await?;
    let stored = number(&transaction, dialect, &stored_epoch(dialect)).await?;
    let stored =
        Epoch::new(stored).ok_or_else(|| DbErr::Custom("the stored epoch is not valid".to_owned()))?;
    let seconds = number(&transaction, dialect, &format!("SELECT {}", seconds_since_2026(dialect))).await?;
    let epoch = Epoch::after(stored, stored, seconds)
        .ok_or_else(|| DbErr::Custom("the database's clock is beyond 2094".to_owned()))?;
    let mut ended = 0;
    for count in active_grants(dialect) {
        ended += number(&transaction, dialect, &count).await?;
    }
    for statement in statements(dialect, epoch, server.as_ref()) {
        transaction.execute_unprepared(&statement).await?;
    }
    transaction.commit().await?;
    Ok(RaisedByHand { epoch, ended })
}

/// The server that is raised on; `None` if it is unknown. If nothing were stored, a standby that is promoted before the service
/// has met this server would be taken for the right one, though it may lack what was granted under this epoch.
async fn find_server(db: &DatabaseConnection, dialect: Dialect) -> Option<Identity> {
    if dialect == Dialect::Sqlite {
        return None;
    }
    for in_full in [true, false] {
        // Not everybody may ask for all of it.
        if let Ok(row) = db.query_one_raw(dialect.statement(&sql::read_epoch(dialect, in_full), [])).await {
            let row = row?;
            let texts = (0..COLUMNS).map(|index| row.try_get_by_index(index)).collect::<Result<Vec<_>, _>>();
            return server_of(&texts.ok()?);
        }
    }
    None
}

async fn number(db: &DatabaseTransaction, dialect: Dialect, query: &str) -> Result<i64, DbErr> {
    let row = db.query_one_raw(dialect.statement(query, [])).await?;
    row.ok_or_else(|| DbErr::Custom("the row of the epoch is missing".to_owned()))?.try_get_by_index(0)
}

/// Reads the epoch, and keeps other sessions from changing it.
fn stored_epoch(dialect: Dialect) -> String {
    let lock = if dialect == Dialect::Sqlite { "" } else { " FOR UPDATE" };
    format!("/* stored_epoch */ SELECT epoch FROM db_locks_epoch WHERE id = 1{lock}")
}

/// Queries that count active grants.
fn active_grants(dialect: Dialect) -> [String; 2] {
    ["locks", "permits"].map(|table| {
        dialect.sql(&format!(
            "/* active_grants */ SELECT count(*) FROM {table} \
             WHERE version IS NOT NULL AND NOT released AND expires_at_ms > {{now}}"
        ))
    })
}

/// Statements that end all grants and store the epoch and the server that it is valid for. Every row of a key gets a new
/// version, so that no write that was decided before is applied.
fn statements(dialect: Dialect, epoch: Epoch, server: Option<&Identity>) -> [String; 4] {
    let row_version = match dialect {
        Dialect::Sqlite => "randomblob(16)",
        Dialect::Postgres => "gen_random_uuid()",
        Dialect::MariaDb | Dialect::MySql => "UNHEX(REPLACE(UUID(), '-', ''))",
    };
    let ends = "expires_at_ms = CASE WHEN expires_at_ms > {now} THEN {now} ELSE expires_at_ms END";
    [
        // A guarded lock whose guard row names no grant is of kind 3. Locks that are deleted with their grant are
        // swept.
        format!(
            "/* end_locks */ UPDATE locks SET stamp = {row_version}, released = (version IS NOT NULL), {ends}, \
             sweep_at_ms = CASE WHEN delete_on_release THEN {{now}} ELSE NULL END, \
             kind = CASE WHEN kind IN (4, 5, 6) THEN 3 ELSE kind END, updated_at_ms = {{now}} WHERE kind <> 0"
        ),
        format!("/* end_permits */ UPDATE permits SET {ends}, released = (1 = 1), updated_at_ms = {{now}}"),
        "/* end_guards */ UPDATE db_locks_guards SET previous = coalesce(version, previous), version = NULL".to_owned(),
        sql::raise(dialect, epoch, server),
    ]
    .map(|template| dialect.sql(&template))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_of_a_raise_by_hand_are_reviewed() {
        for (name, dialect) in [
            ("by_hand_sqlite", Dialect::Sqlite),
            ("by_hand_postgresql", Dialect::Postgres),
            ("by_hand_mariadb", Dialect::MariaDb),
            ("by_hand_mysql", Dialect::MySql),
        ] {
            let mut text = vec![stored_epoch(dialect)];
            text.extend(active_grants(dialect));
            text.extend(statements(dialect, Epoch::default(), None));
            insta::assert_snapshot!(name, text.join(";\n\n") + ";\n");
        }
    }
}
