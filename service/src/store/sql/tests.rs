//! The hot path's text, for review: a change of a statement shows in a snapshot.

use super::{Dialect, Sql};

fn reviewed(dialect: Dialect, name: &str) {
    let sql = Sql::new(dialect);
    let mut text = String::new();
    let one = sql.one.as_ref();
    for statement in [
        sql.upsert.as_str(),
        if dialect == Dialect::Sqlite { super::sqlite::INSERT } else { "" },
        one.map_or("", |one| &one.insert),
        one.map_or("", |one| &one.update),
        one.map_or("", |one| &one.update_with_waiters),
        sql.upsert_with_children.as_deref().unwrap_or_default(),
        sql.read_back.as_deref().unwrap_or_default(),
        &sql.waiters_gone,
        &sql.waiters_put,
        &sql.permits_put,
        &sql.load_rows,
        &sql.load_heads,
        &sql.load_named_waiters(2),
        &sql.load_permits,
        &sql.load_named_permits(2),
        &sql.replicas.offers,
        &sql.sweep.delete_tombstones,
        &sql.sweep.raise_floor,
    ] {
        if !statement.is_empty() {
            text.push_str(statement);
            text.push_str(";\n\n");
        }
    }
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
