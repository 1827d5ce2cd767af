//! Error numbers of MariaDB and MySQL.

use sea_orm::{DbErr, RuntimeErr, sqlx::mysql::MySqlDatabaseError};

/// The number of the server's error; `None` for any other error.
pub(in super::super) fn error_number(error: &DbErr) -> Option<u16> {
    let (DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Exec(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    error.map(MySqlDatabaseError::number)
}
