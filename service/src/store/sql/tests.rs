//! The texts of the hot path, for review: a change of a statement shows in a snapshot.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use super::{Dialect, GuardRemoval, Sql, postgres, sqlite};
use crate::store::mysql::sql::Shape;

fn reviewed(dialect: Dialect, name: &str) {
    let sql = Sql::new(dialect);
    let mut statements = match dialect {
        Dialect::Sqlite => vec![sqlite::update(), sqlite::insert()],
        Dialect::Postgres => [
            &postgres::UPDATE,
            &postgres::UPDATE_AND_INSERT,
            &postgres::UPDATE_ONE,
            &postgres::UPDATE_ONE_GUARDED,
            &postgres::INSERT_ONE,
            &postgres::UPDATE_WITH_WAITERS,
            &postgres::UPDATE_WITH_WAITERS_AND_NOTIFICATIONS,
            &postgres::UPDATE_AND_INSERT_WITH_CHILDREN,
        ]
        .map(|statement| String::clone(statement))
        .to_vec(),
        Dialect::MariaDb | Dialect::MySql => {
            let upserts = [Shape::Known, Shape::Mixed]
                .map(|shape| sql.mysql.upserts.of(shape, 2).unwrap().1.to_string());
            let guarded = sql.mysql.commit_guarded.as_deref().map(str::to_owned);
            let block = (dialect == Dialect::MariaDb)
                .then(|| sql.mysql.upserts_in_blocks.of(Shape::Known, 1).unwrap().1.to_string());
            [
                upserts.to_vec(),
                Vec::from_iter(block),
                Vec::from_iter(guarded),
                sql.mysql.batch.parts().to_vec(),
            ]
            .concat()
        }
    };
    statements.extend([
        if dialect == Dialect::MySql { sql.mysql.read_back.clone() } else { String::new() },
        sql.children.waiters_gone.clone(),
        sql.children.waiters_put.clone(),
        sql.children.permits_put.clone(),
        sql.children.permits_clear.clone(),
        sql.load.rows.clone(),
        sql.load.queue_prefix.clone(),
        sql.load.named_waiters(2),
        sql.load.waiter_data(2),
        sql.load.positions(2),
        sql.load.permits.clone(),
        sql.load.named_permits(2),
        sql.replicas.offers.clone(),
        sql.sweep.ended.clone(),
        sql.sweep.tombstones.clone(),
        sql.sweep.lock_tombstones.clone().unwrap_or_default(),
        sql.sweep.delete_tombstones.clone(),
        sql.sweep.settle_floor.clone(),
        sql.sweep.raise_floor.clone(),
    ]);
    statements.extend(sql.guards.sweep.after.clone());
    match sql.guards.sweep.removal {
        GuardRemoval::One(removal) => statements.push(removal),
        GuardRemoval::Steps { lock, delete } => statements.extend([lock, delete]),
    }
    statements.retain(|statement| !statement.is_empty());
    let text = statements.join(";\n\n") + ";\n";
    insta::assert_snapshot!(name, text);
}

#[test]
fn the_statements_of_sqlite_are_reviewed() {
    reviewed(Dialect::Sqlite, "sqlite");
}

#[test]
fn the_statements_of_postgresql_are_reviewed() {
    reviewed(Dialect::Postgres, "postgresql");
}

#[test]
fn the_statements_of_mariadb_are_reviewed() {
    reviewed(Dialect::MariaDb, "mariadb");
}

#[test]
fn the_statements_of_mysql_are_reviewed() {
    reviewed(Dialect::MySql, "mysql");
}

#[test]
fn placeholders_are_numbered_for_postgresql_only() {
    assert_eq!(Dialect::Postgres.sql("a = ? AND {key} = ?"), "a = $1 AND \"key\" = $2");
    assert_eq!(Dialect::MariaDb.sql("a = ? AND {key} = ?"), "a = ? AND `key` = ?");
}

#[test]
fn a_batch_of_any_size_has_a_statement_that_is_not_much_larger() {
    let upserts = Sql::new(Dialect::MariaDb).mysql.upserts;
    for rows in 1..=256 {
        let (size, text) = upserts.of(Shape::Known, rows).unwrap();
        assert!(size >= rows && size <= rows + rows / 2 + 1, "{rows} rows are sent as {size}");
        assert_eq!(text.matches('?').count(), size * 24);
    }
    assert!(upserts.of(Shape::Mixed, 257).is_none());
}
