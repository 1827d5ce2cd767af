//! How keys' rows are written to MariaDB and MySQL: lists of values (see `sql::mysql::Upserts`).
//!
//! A write that was decided on a row must not create one. Where the row was gone MariaDB's statement has undone itself, and the
//! rows are written one by one; on MySQL what was created so is taken away again before anybody sees it.

use sea_orm::{ConnectionTrait, DbErr, RuntimeErr, Value, sqlx};

use super::{
    cells::{Cell, LOCK_CELLS, lock_cells},
    children::JsonRows,
    commit::Won,
    rows::LockRow,
    sql::mysql::Shape,
    sql_store::SqlStore,
};

/// Which column of `locks` the token is.
const TOKEN: usize = 5;

/// What MariaDB and MySQL call a number that is out of range.
const OUT_OF_RANGE: u16 = 1690;

impl SqlStore {
    /// Writes rows on MariaDB, inside a transaction.
    pub(super) async fn upsert_mariadb(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<Won, DbErr> {
        if let Some(won) = self.upsert_mariadb_at_once(db, rows).await? {
            return Ok(won);
        }
        let mut won = Won::default();
        for row in rows {
            let alone = self.upsert_mariadb_at_once(db, std::slice::from_ref(row)).await?;
            won.extend(alone.unwrap_or_default());
        }
        Ok(won)
    }

    /// Writes rows on MariaDB in one statement. `None`: one of them was to be updated and was gone, and nothing was written.
    pub(super) async fn upsert_mariadb_at_once(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<Option<Won>, DbErr> {
        let (sql, values) = self.values_list(rows)?;
        let stand = match self.query(db, &self.commit, sql, values).await {
            Err(error) if has_overflowed(&error) => return Ok(None),
            stand => stand?,
        };
        let mut won = Won::default();
        won.read(&stand)?;
        Ok(Some(won))
    }

    /// Writes rows on MySQL, inside a transaction.
    pub(super) async fn upsert_mysql(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<Won, DbErr> {
        let (sql, values) = self.values_list(rows)?;
        self.execute(db, &self.commit, sql, values).await?;
        let read_back = self.sql.read_back.as_deref().unwrap_or_default();
        let mut stand = self.query(db, &self.commit, read_back, [keys_of(rows)]).await?;
        for row in stand.extract_if(.., |row| row.try_get_by_index(CREATED).unwrap_or(false)) {
            let undo = "/* undo */ DELETE FROM locks WHERE tenant = ? AND `key` = ?";
            let (tenant, key): (String, String) = (row.try_get("", "tenant")?, row.try_get("", "key")?);
            self.execute(db, &self.commit, undo, [tenant.into(), key.into()]).await?;
        }
        let mut won = Won::default();
        won.read(&stand)?;
        Ok(won)
    }

    /// The upsert of these rows and its values, filled up with the last row to a number that there is a statement for.
    fn values_list(&self, rows: &[LockRow<'_>]) -> Result<(&str, Vec<Value>), DbErr> {
        let all_known = rows.iter().all(|row| row.prev_stamp.is_some());
        let shape = if all_known { Shape::Known } else { Shape::Mixed };
        let statement = self.sql.upserts.as_ref().and_then(|upserts| upserts.of(shape, rows.len()));
        let (Some((size, sql)), Some(last)) = (statement, rows.last()) else {
            return Err(DbErr::Custom(format!("there is no statement for {} rows", rows.len())));
        };
        let mut values = Vec::with_capacity(size * (LOCK_CELLS + 1));
        for row in rows.iter().chain(std::iter::repeat_n(last, size - rows.len())) {
            let cells = lock_cells(row);
            let (until_token, rest) = cells.split_at(TOKEN + 1);
            values.extend(until_token.iter().copied().map(Value::from));
            if shape == Shape::Mixed {
                values.push(Cell::Text(row.prev_stamp.is_none().then_some(row.tenant)).into());
            }
            values.extend(rest.iter().copied().map(Value::from));
        }
        Ok((sql, values))
    }
}

/// The column of MySQL's read-back that tells whether a row was created by a write that was decided on one.
const CREATED: usize = 3;

fn has_overflowed(error: &DbErr) -> bool {
    let (DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Exec(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let error = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
    error.is_some_and(|error| error.number() == OUT_OF_RANGE)
}

/// The keys of these rows as one JSON text.
fn keys_of(rows: &[LockRow<'_>]) -> Value {
    let mut keys = JsonRows::default();
    for row in rows {
        keys.row().text(row.tenant).text(row.key).end();
    }
    Value::from(keys.into_text())
}
