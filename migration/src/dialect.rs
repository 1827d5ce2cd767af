//! What the three dialects call the same thing.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DatabaseBackend, Statement},
};

/// One table's DDL in each dialect. Keys compare byte for byte in all of them, times are epoch milliseconds, and the unit
/// stands in the column's name.
pub(crate) struct Ddl {
    pub(crate) sqlite: &'static [&'static str],
    pub(crate) postgres: &'static [&'static str],
    /// `{binary}` stands for the collation that compares UTF-8 byte for byte, without padding.
    pub(crate) mysql: &'static [&'static str],
}

impl Ddl {
    /// Runs the statements of the database's dialect, one after another.
    pub(crate) async fn run(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let statements = match manager.get_database_backend() {
            DatabaseBackend::Sqlite => self.sqlite,
            DatabaseBackend::Postgres => self.postgres,
            DatabaseBackend::MySql => self.mysql,
            other => return Err(DbErr::Custom(format!("{other:?} is not supported"))),
        };
        let collation = binary_collation(db).await?;
        for statement in statements {
            db.execute_unprepared(&statement.replace("{binary}", collation)).await?;
        }
        Ok(())
    }
}

/// MariaDB and MySQL have different names for it; only the version tells them apart.
async fn binary_collation(db: &impl ConnectionTrait) -> Result<&'static str, DbErr> {
    if db.get_database_backend() != DatabaseBackend::MySql {
        return Ok("");
    }
    let version = Statement::from_string(DatabaseBackend::MySql, "SELECT CAST(VERSION() AS CHAR) AS version");
    let row = db.query_one_raw(version).await?;
    let version: String = row.map_or(Ok(String::new()), |row| row.try_get("", "version"))?;
    Ok(if version.to_ascii_lowercase().contains("mariadb") {
        "utf8mb4_nopad_bin"
    } else {
        "utf8mb4_0900_bin"
    })
}

/// Removes a table; the same in every dialect.
pub(crate) async fn drop_table(manager: &SchemaManager<'_>, table: &'static str) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(Alias::new(table)).if_exists().to_owned()).await
}
