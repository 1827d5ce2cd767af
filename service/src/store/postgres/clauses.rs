//! The parts of which PostgreSQL's statements are made.

use sea_orm::ColumnType;

use crate::domain::TOKENS_OF_AN_EPOCH;
use crate::store::{
    columns::{Column, Columns},
    rows::LOCK_CELLS,
};

/// Database time, rounded down. As a subquery it is read once per statement instead of once per row.
pub(super) const DB_TIME: &str =
    "(SELECT floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) AS db_time";
/// Whether a row of an array belongs to a write that won. The lookup uses a hash table; a join would compare every row
/// with every other one.
pub(super) const WRITE_WON: &str = "(n.stamp IN (SELECT stamp FROM won)) IS TRUE";

pub(super) const FROM_JSON: &str = "FROM json_array_elements($1::json) AS x (v)";

/// Updates rows from an array, each only if it still has the version that its write was decided on. Never creates a
/// row: it may have been swept meanwhile.
pub(super) fn update_rows(rows: &str) -> String {
    let assignments = Columns::set_by_writes().list(|column| format!("{0} = n.{0}", column.name));
    format!(
        "UPDATE locks SET\n    {assignments}\nFROM unnest({rows}::lock_row[]) AS n\n\
         CROSS JOIN LATERAL ({}) AS l\n\
         WHERE locks.ctid = l.ctid AND locks.stamp = n.prev_stamp\n\
         RETURNING locks.stamp, locks.token, {DB_TIME}",
        row_of_n("l.ctid")
    )
}

/// Selects these columns of the row `l` of `locks` that has the key of the row `n` of an array.
///
/// In a plain join the planner may read `locks` first, and compare each of its rows with each of the array's. It does so if
/// the table was empty when the plan was made, and the plan stays until the server analyzes the table again. With a limit it
/// can only look each key up. (Comparisons of rows instead of equations would do that too, but before PostgreSQL 18 they
/// read on to the end of the tenant.)
pub(super) fn row_of_n(columns: &str) -> String {
    format!("SELECT {columns} FROM locks l WHERE l.tenant = n.tenant AND l.\"key\" = n.\"key\" LIMIT 1")
}

/// Selects these columns of the row `w` of a table that has this value in a column besides tenant and key. The order makes the
/// planner use the index of that column. If it expects few rows of a key, as in an empty table or where most semaphores are
/// small, any index of tenant and key is as good to it, also one by which all rows of the key are read.
pub(super) fn row_with(
    columns: &str,
    table: &str,
    [tenant, key]: [&str; 2],
    (column, value): (&str, &str),
) -> String {
    format!(
        "SELECT w.{columns} FROM {table} w WHERE w.tenant = {tenant} AND w.\"key\" = {key} \
         AND w.{column} >= {value} AND w.{column} <= {value} ORDER BY w.{column} LIMIT 1"
    )
}

/// Removes the waiters that are named by these values of an array's rows.
pub(super) fn delete_waiters([tenant, key, seq]: [&str; 3], from: &str) -> String {
    let row = row_with("ctid", "waiters", [tenant, key], ("seq", seq));
    format!(
        "DELETE FROM waiters WHERE ctid = ANY (ARRAY(\n    SELECT (\n        {row}\n    )\n    {from}\n))"
    )
}

/// Inserts rows from an array. Their tokens begin above the tenant's floor, which the same statement reads.
pub(super) fn insert_rows(rows: &str) -> String {
    let columns = Columns::of_locks();
    let values = columns.list(|column| match column.name {
        "prev_stamp" => "NULL".to_owned(),
        "token" => with_floor("n.token", "n.tenant"),
        _ => of_array(column),
    });
    format!(
        "INSERT INTO locks (\n    {})\nSELECT\n    {values}\nFROM unnest({rows}::lock_row[]) AS n\n\
         WHERE ({}) IS NULL\n\
         ON CONFLICT (tenant, \"key\") DO NOTHING\nRETURNING stamp, token, {DB_TIME}",
        columns.names(),
        row_of_n("l.stamp")
    )
}

pub(super) fn update_one(condition: &str) -> String {
    let assignments =
        Columns::set_by_writes().list(|column| format!("{} = {}", column.name, parameter(column)));
    format!(
        "UPDATE locks SET\n    {assignments}\n\
         WHERE tenant = $1::text AND \"key\" = $2::text AND stamp = $4::uuid{condition}\n\
         RETURNING stamp, token, {DB_TIME}"
    )
}

/// The numbers of the waiters that leave and the rows of those that come follow the cells of the row.
pub(super) fn update_with_waiters(notifications: &str) -> String {
    let [gone, active] = [1, 2].map(after_cells);
    let delete_waiters = delete_waiters(
        ["$1::text", "$2::text", "n.seq"],
        &format!("FROM unnest({gone}::bigint[]) AS n (seq) WHERE EXISTS (SELECT FROM won)"),
    );
    format!(
        r#"/* commit_with_waiters */
WITH won AS (
{}
), gone AS (
    {delete_waiters}
), active AS (
    {}
)
SELECT won.stamp, won.token, won.db_time{notifications}
FROM won"#,
        update_one(""),
        upsert_waiters(&active, "EXISTS (SELECT FROM won)")
    )
}

/// Adds or changes waiters from an array, if their write won.
pub(super) fn upsert_waiters(rows: &str, condition: &str) -> String {
    let from = format!("FROM unnest({rows}::waiter_row[]) AS n\nWHERE {condition}");
    upsert("waiters", &Columns::of_waiters(), of_array, &from, "seq", &Columns::set_in_waiters())
}

/// Adds or changes rows.
pub(super) fn upsert(
    table: &str,
    columns: &Columns,
    value: fn(&Column) -> String,
    from: &str,
    order: &str,
    changed: &Columns,
) -> String {
    format!(
        "INSERT INTO {table} (\n    {})\nSELECT\n    {}\n{from}\nON CONFLICT (tenant, \"key\", {order}) DO UPDATE SET\n    {}",
        columns.names(),
        columns.list(value),
        changed.excluded()
    )
}

/// [`Token::above_floor`](crate::domain::Token::above_floor).
pub(super) fn with_floor(token: &str, tenant: &str) -> String {
    format!(
        "greatest({token}, {token} % {TOKENS_OF_AN_EPOCH} + coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = {tenant}), 0))"
    )
}

/// A column of an array's row.
pub(super) fn of_array(column: &Column) -> String {
    format!("n.{}", column.quoted())
}

/// A column of a row in JSON.
pub(super) fn of_json(column: &Column) -> String {
    let index = column.number - 1;
    match type_of(column) {
        "text" => format!("x.v ->> {index}"),
        "boolean" => format!("x.v ->> {index} = '1'"),
        other => format!("(x.v ->> {index})::{other}"),
    }
}

/// The parameter that is bound after all cells of a key's row, counted from 1.
pub(super) fn after_cells(number: usize) -> String {
    format!("${}", LOCK_CELLS + number)
}

/// The parameter for a column, with its type.
pub(super) fn parameter(column: &Column) -> String {
    format!("${}::{}", column.number, type_of(column))
}

fn type_of(column: &Column) -> &'static str {
    match column.kind {
        ColumnType::Uuid => "uuid",
        ColumnType::SmallInteger => "smallint",
        ColumnType::Integer => "integer",
        ColumnType::BigInteger => "bigint",
        ColumnType::Boolean => "boolean",
        ColumnType::VarBinary(_) | ColumnType::Binary(_) | ColumnType::Blob => "bytea",
        _ => "text",
    }
}
