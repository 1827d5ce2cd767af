//! How keys' rows are written to MariaDB and MySQL: lists of values (see `sql::mysql::Upserts`).
//!
//! A write that was decided on a row must not create one. Where the row was gone MariaDB's statement has undone itself, and the
//! rows are written one by one; on MySQL what was created so is taken away again before anybody sees it.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DbErr, RuntimeErr, Value,
    sqlx::{
        Arguments, MySql,
        error::BoxDynError,
        mysql::{MySqlArguments, MySqlDatabaseError},
    },
};

use super::{
    cells::{Cell, LOCK_CELLS, lock_cells},
    children::JsonRows,
    commit::Won,
    pool::Pool,
    rows::{LockRow, Row},
    sql::mysql::Shape,
    sql_store::SqlStore,
};

/// Which column of `locks` the token is.
const TOKEN: usize = 5;

/// What MariaDB and MySQL call a number that is out of range.
const OUT_OF_RANGE: u16 = 1690;

impl SqlStore {
    /// Writes a batch on MariaDB in one statement. `None`: a row was to be updated and was gone, and nothing was written.
    pub(super) async fn commit_mariadb(
        &self,
        pool: &Pool<MySql>,
        rows: &[LockRow<'_>],
    ) -> Result<Option<Won>, DbErr> {
        let list = self.values_list(rows)?;
        let mut arguments = MySqlArguments::default();
        list.for_each(|cell| add(&mut arguments, cell)).map_err(|error| DbErr::Custom(error.to_string()))?;
        self.commit.round_trips.increment(1);
        let stand = pool.fetch(list.sql.clone(), arguments).await;
        won_unless_undone(stand)
    }

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

    async fn upsert_mariadb_at_once(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<Option<Won>, DbErr> {
        let list = self.values_list(rows)?;
        won_unless_undone(self.query(db, &self.commit, &list.sql, list.values()).await)
    }

    /// Writes rows on MySQL, inside a transaction.
    pub(super) async fn upsert_mysql(
        &self,
        db: &impl ConnectionTrait,
        rows: &[LockRow<'_>],
    ) -> Result<Won, DbErr> {
        let list = self.values_list(rows)?;
        self.execute(db, &self.commit, &list.sql, list.values()).await?;
        let read_back = self.sql.read_back.as_deref().unwrap_or_default();
        let stand = self.query(db, &self.commit, read_back, [keys_of(rows)]).await?;
        let mut won = Won::default();
        for row in &stand {
            if !row.try_get_by_index::<bool>(CREATED)? {
                won.read(std::slice::from_ref(row))?;
                continue;
            }
            let undo = "/* undo */ DELETE FROM locks WHERE tenant = ? AND `key` = ?";
            let (tenant, key): (String, String) = (row.try_get("", "tenant")?, row.try_get("", "key")?);
            self.execute(db, &self.commit, undo, [tenant.into(), key.into()]).await?;
        }
        Ok(won)
    }

    /// The upsert of these rows, filled up with the last one to a number that there is a statement for.
    fn values_list<'r>(&self, rows: &'r [LockRow<'r>]) -> Result<ValuesList<'r>, DbErr> {
        let all_known = rows.iter().all(|row| row.prev_stamp.is_some());
        let shape = if all_known { Shape::Known } else { Shape::Mixed };
        let statement = self.sql.upserts.as_ref().and_then(|upserts| upserts.of(shape, rows.len()));
        let (size, sql) = statement
            .ok_or_else(|| DbErr::Custom(format!("there is no statement for {} rows", rows.len())))?;
        Ok(ValuesList { sql, shape, rows, size })
    }
}

/// Rows, and the statement that they go into.
struct ValuesList<'r> {
    sql: Arc<str>,
    shape: Shape,
    rows: &'r [LockRow<'r>],
    /// How many rows the statement wants.
    size: usize,
}

impl ValuesList<'_> {
    /// Hands out the statement's values in their order.
    fn for_each<E>(&self, mut put: impl FnMut(Cell<'_>) -> Result<(), E>) -> Result<(), E> {
        let fill = self.rows.last().into_iter().cycle();
        for row in self.rows.iter().chain(fill).take(self.size) {
            let cells = lock_cells(row);
            let (until_token, rest) = cells.split_at(TOKEN + 1);
            until_token.iter().try_for_each(|cell| put(*cell))?;
            if self.shape == Shape::Mixed {
                put(Cell::Text(row.prev_stamp.is_none().then_some(row.tenant)))?;
            }
            rest.iter().try_for_each(|cell| put(*cell))?;
        }
        Ok(())
    }

    /// The values as SeaORM sends them.
    fn values(&self) -> Vec<Value> {
        let mut values = Vec::with_capacity(self.size * (LOCK_CELLS + 1));
        let Ok(()) = self.for_each(|cell| {
            values.push(cell.into());
            Ok::<_, std::convert::Infallible>(())
        });
        values
    }
}

fn add(arguments: &mut MySqlArguments, cell: Cell<'_>) -> Result<(), BoxDynError> {
    match cell {
        Cell::Text(value) => arguments.add(value),
        Cell::Uuid(value) => arguments.add(value),
        Cell::Bytes(value) => arguments.add(value),
        Cell::Small(value) => arguments.add(value),
        Cell::Int(value) => arguments.add(value),
        Cell::Big(value) => arguments.add(value),
        Cell::Flag(value) => arguments.add(value),
    }
}

/// Who won; `None` where the statement has undone itself.
fn won_unless_undone(stand: Result<Vec<impl Row>, DbErr>) -> Result<Option<Won>, DbErr> {
    match stand {
        Err(error) if has_overflowed(&error) => Ok(None),
        stand => {
            let mut won = Won::default();
            won.read(&stand?)?;
            Ok(Some(won))
        }
    }
}

/// The column of MySQL's read-back that tells whether a row was created by a write that was decided on one.
const CREATED: usize = 3;

fn has_overflowed(error: &DbErr) -> bool {
    let (DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Exec(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
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
