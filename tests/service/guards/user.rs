//! A user of the database that calls the guard in transactions.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, Statement, sqlx};

use crate::support::{Client, Database, Dialect, sql};

/// A session of a user.
pub(crate) struct User {
    connection: DatabaseConnection,
    dialect: Dialect,
    tenant: String,
}

impl User {
    /// A session in the database of the locks, with a table of the user's own.
    pub(crate) async fn of(database: &Database, client: &Client) -> Self {
        let user = Self::at(&database.url, database.dialect, client).await;
        user.run("CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)")
            .await;
        user
    }

    /// A session at a URL.
    pub(crate) async fn at(url: &str, dialect: Dialect, client: &Client) -> Self {
        let connection = sql::connect(url).await.unwrap();
        Self { connection, dialect, tenant: client.tenant().to_owned() }
    }

    /// Runs a statement that may be refused.
    pub(crate) async fn try_run(&self, sql: &str) -> Result<(), DbErr> {
        self.connection.execute_unprepared(sql).await.map(drop)
    }

    /// Runs a statement.
    pub(crate) async fn run(&self, sql: &str) {
        self.connection.execute_unprepared(sql).await.unwrap();
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self) {
        let begin = if self.dialect == Dialect::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        self.run(begin).await;
    }

    /// Calls the guard. Returns the token, or the code of the error.
    pub(crate) async fn guard(&self, key: &str, version: &str) -> Result<i64, String> {
        self.guard_of("", key, version).await
    }

    /// Calls the guard in a schema or database, whose name ends with a dot.
    pub(crate) async fn guard_of(&self, place: &str, key: &str, version: &str) -> Result<i64, String> {
        let tenant = &self.tenant;
        let call = match self.dialect {
            Dialect::Sqlite => {
                let call = format!(
                    "INSERT INTO db_locks_guard (key, version, tenant) VALUES ('{key}', '{version}', '{tenant}')"
                );
                self.connection.execute_unprepared(&call).await.map_err(|error| code(&error))?;
                let digits = version.replace('-', "").to_lowercase();
                format!(
                    "SELECT fencing_token FROM db_locks_guard \
                     WHERE tenant = '{tenant}' AND key = '{key}' AND version = '{digits}'"
                )
            }
            Dialect::Postgres => format!("SELECT {place}db_locks_guard('{key}', '{version}', '{tenant}')"),
            Dialect::MariaDb | Dialect::MySql => {
                format!("CALL {place}db_locks_guard_in('{key}', '{version}', '{tenant}')")
            }
        };
        let statement = Statement::from_string(self.connection.get_database_backend(), call);
        let row = self.connection.query_one_raw(statement).await.map_err(|error| code(&error))?;
        Ok(row.unwrap().try_get_by_index(0).unwrap())
    }

    /// The database's id of this session.
    pub(crate) async fn session(&self) -> String {
        let ask = match self.dialect {
            Dialect::Postgres => "SELECT pg_backend_pid()::text",
            _ => "SELECT CAST(CONNECTION_ID() AS CHAR)",
        };
        let ask = Statement::from_string(self.connection.get_database_backend(), ask);
        self.connection.query_one_raw(ask).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    }

    /// The refusal of a grant that is not guarded, of a key with an earlier grant that was. `MariaDB` and `MySQL` know
    /// only that the guard row does not name it.
    pub(crate) fn refusal_of_unguarded(&self) -> Result<i64, String> {
        let code = if matches!(self.dialect, Dialect::MariaDb | Dialect::MySql) { "DL002" } else { "DL001" };
        Err(code.to_owned())
    }

    /// Calls the guard in a transaction of its own.
    pub(crate) async fn guard_alone(&self, key: &str, version: &str) -> Result<i64, String> {
        self.begin().await;
        let guarded = self.guard(key, version).await;
        self.run("ROLLBACK").await;
        guarded
    }
}

/// The code of the guard's error, in the form `DL001` on every database.
fn code(error: &DbErr) -> String {
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) = error
    else {
        panic!("{error}");
    };
    let sqlx::Error::Database(source) = &**source else { panic!("{error}") };
    let message = source.message();
    let code = message.split(' ').next().unwrap_or_default();
    assert!(code.starts_with("DL0"), "{error}");
    code.to_owned()
}
