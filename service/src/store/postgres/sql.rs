//! PostgreSQL's statements of the hot path.
//!
//! Rows go to the server as arrays of composite types, one parameter for each table: with an array for each column the
//! server keeps a result for each array. Rows that exist are updated first, then the others are inserted, both in the
//! order of the keys. An insert does not wait for a row that another statement is updating: the row is visible, so the
//! insert finds that it has lost its race. So no two statements wait for each other in a circle, except for a row that
//! appears between a statement's snapshot and its insert; the server resolves that. The condition on the row version
//! decides which write wins. The settings of the connection keep every plan on its indexes (see `session`).

use std::sync::LazyLock;

use sea_orm::ColumnType;

use crate::domain::TOKENS_OF_AN_EPOCH;
use crate::store::{
    columns::{Column, Columns},
    dialect::Dialect,
    rows::LOCK_CELLS,
};

/// Database time, rounded down. As a subquery it is read once per statement instead of once per row.
const DB_TIME: &str = "(SELECT floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) AS db_time";
/// Whether a row of an array belongs to a write that won. The lookup uses a hash table; a join would compare every row
/// with every other one.
const WRITE_WON: &str = "(n.stamp IN (SELECT stamp FROM won)) IS TRUE";

/// Updates keys' rows that exist: the common batch.
pub(in super::super) static UPDATE: LazyLock<String> =
    LazyLock::new(|| format!("/* commit */\n{}", update_rows("$1")));

/// Writes keys' rows that exist (`$1`) and that do not (`$2`).
pub(in super::super) static UPDATE_AND_INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "/* commit_mixed */\nWITH updated AS (\n{}\n), created AS (\n{}\n)\n\
         SELECT stamp, token, db_time FROM updated UNION ALL SELECT stamp, token, db_time FROM created",
        update_rows("$1"),
        insert_rows("$2")
    )
});

/// Updates a single row that exists. With plain parameters this is faster than with an array of one row.
pub(in super::super) static UPDATE_ONE: LazyLock<String> =
    LazyLock::new(|| format!("/* commit_one */\n{}", update_one("")));

/// Updates a single row that exists, and the guard row of its slot, which names a grant from now on. The slot and the
/// grant's version follow the cells of the row. If the guard row is missing or locked, nothing is written. The time of the grant is read after the guard row was
/// locked: `named` reads `won`, which reads `guard`.
pub(in super::super) static UPDATE_ONE_GUARDED: LazyLock<String> = LazyLock::new(|| {
    let (won, identity) = (update_one(" AND EXISTS (SELECT FROM guard)"), Dialect::Postgres.identity());
    let [slot, version] = [1, 2].map(after_cells);
    format!(
        r#"/* commit_guarded */
WITH guard AS MATERIALIZED (
    SELECT FROM db_locks_guards WHERE tenant = $1::text AND "key" = $2::text AND slot = {slot}::integer
    FOR UPDATE SKIP LOCKED
), won AS (
{won}
), named AS (
    UPDATE db_locks_guards g SET previous = coalesce(g.version, g.previous), version = {version}::uuid, token = won.token,
        granted_at = CASE WHEN g.identity = {identity} THEN greatest(clock_timestamp(), g.granted_at)
            ELSE clock_timestamp() END,
        identity = {identity}
    FROM won
    WHERE g.tenant = $1::text AND g."key" = $2::text AND g.slot = {slot}::integer
)
SELECT stamp, token, db_time FROM won"#
    )
});

/// Inserts a single new row. `$4`, the version that the write was decided on, is NULL here.
pub(in super::super) static INSERT_ONE: LazyLock<String> = LazyLock::new(|| {
    let columns = Columns::of_locks();
    let values = columns.list(|column| match column.name {
        "token" => with_floor(&parameter(column), "$1::text"),
        _ => parameter(column),
    });
    format!(
        "/* commit_new */\nINSERT INTO locks (\n    {})\nVALUES (\n    {values})\nON CONFLICT (tenant, \"key\") DO NOTHING\n\
         RETURNING stamp, token, {DB_TIME}",
        columns.names()
    )
});

/// Updates a single row that exists, and its queue: the hand-over of a lock within a replica.
pub(in super::super) static UPDATE_WITH_WAITERS: LazyLock<String> = LazyLock::new(|| update_with_waiters(""));

/// [`UPDATE_WITH_WAITERS`] with notifications to other replicas.
pub(in super::super) static UPDATE_WITH_WAITERS_AND_NOTIFICATIONS: LazyLock<String> = LazyLock::new(|| {
    let [channels, payload] = [3, 4].map(after_cells);
    update_with_waiters(&format!(
        ",\n    (SELECT count(pg_notify(t.channel, {payload}::text)) FROM unnest({channels}::text[]) AS t (channel))",
    ))
});

/// Writes keys' rows that exist (`$1`) and that do not (`$2`), and the queues and permits of those that win: one
/// statement, one round trip, one commit.
pub(in super::super) static UPDATE_AND_INSERT_WITH_CHILDREN: LazyLock<String> = LazyLock::new(|| {
    format!(
        r#"/* commit_with_children */
WITH updated AS (
{}
), created AS (
{}
), won AS (
    SELECT stamp, token, db_time FROM updated UNION ALL SELECT stamp, token, db_time FROM created
), gone AS (
    {}
), active AS (
    {}
), granted AS (
    {}
), notified AS (
    SELECT count(pg_notify(n.channel, n.payload)) AS notifications
    FROM unnest($6::uuid[], $7::text[], $8::text[]) AS n (stamp, channel, payload)
    WHERE {WRITE_WON}
)
SELECT won.stamp, won.token, won.db_time, notified.notifications
FROM notified LEFT JOIN won ON true"#,
        update_rows("$1"),
        insert_rows("$2"),
        delete_waiters(
            ["n.tenant", "n.\"key\"", "n.seq"],
            &format!("FROM unnest($3::waiter_row[]) AS n WHERE {WRITE_WON}")
        ),
        upsert_waiters("$4", WRITE_WON),
        upsert(
            "permits",
            &Columns::of_permits(),
            of_array,
            &format!("FROM unnest($5::permit_row[]) AS n\nWHERE {WRITE_WON}"),
            "slot",
            &Columns::set_in_permits()
        ),
    )
});

/// Loads keys' rows with the time, a row for each requested key.
pub(in super::super) static LOAD_ROWS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "/* load */\nSELECT n.n, {DB_TIME},\n    {}\n\
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (tenant, \"key\", n)\n\
         LEFT JOIN LATERAL ({}) AS l ON true",
        Columns::of_locks().list(|column| format!("l.{}", column.quoted())),
        row_of_n("l.*")
    )
});

/// Finds keys whose row existed when the statement began and could not be locked. This program's updates need no
/// stronger lock.
pub(in super::super) fn find_blocked() -> String {
    let row = row_of_n("l.stamp");
    format!(
        r#"/* find_blocked */
WITH free AS MATERIALIZED (
    SELECT n.tenant, n."key"
    FROM unnest($1::text[], $2::text[]) AS n (tenant, "key")
    CROSS JOIN LATERAL ({row} FOR NO KEY UPDATE SKIP LOCKED) AS l
)
SELECT n.tenant, n."key"
FROM unnest($1::text[], $2::text[]) AS n (tenant, "key")
CROSS JOIN LATERAL ({row}) AS l
WHERE NOT EXISTS (SELECT FROM free f WHERE f.tenant = n.tenant AND f."key" = n."key")"#
    )
}

// The rest is for rare transactions, which clear permits or decide under a lock. They go through SeaORM, which has no
// composite types.

/// Removes waiters.
pub(in super::super) fn waiters_gone() -> String {
    format!(
        "/* waiters_gone */\n{}",
        delete_waiters(["x.v ->> 0", "x.v ->> 1", "(x.v ->> 2)::bigint"], FROM_JSON)
    )
}

/// Sends notifications to other replicas.
pub(in super::super) const NOTIFY: &str = "/* notify */ SELECT count(pg_notify(x.v ->> 2, x.v ->> 3)) \
                                           FROM json_array_elements($1::json) AS x (v)";

/// Adds or changes waiters.
pub(in super::super) fn waiters_put() -> String {
    let put =
        upsert("waiters", &Columns::of_waiters(), of_json, FROM_JSON, "seq", &Columns::set_in_waiters());
    format!("/* waiters_put */\n{put}")
}

/// Adds or changes permits.
pub(in super::super) fn permits_put() -> String {
    let put =
        upsert("permits", &Columns::of_permits(), of_json, FROM_JSON, "slot", &Columns::set_in_permits());
    format!("/* permits_put */\n{put}")
}

const FROM_JSON: &str = "FROM json_array_elements($1::json) AS x (v)";

/// Updates rows from an array, each only if it still has the version that its write was decided on. Never creates a
/// row: it may have been swept meanwhile.
fn update_rows(rows: &str) -> String {
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
fn row_of_n(columns: &str) -> String {
    format!("SELECT {columns} FROM locks l WHERE l.tenant = n.tenant AND l.\"key\" = n.\"key\" LIMIT 1")
}

/// Removes the waiters that are named by these values of an array's rows. The order makes the planner use the primary key:
/// to a plan for an empty table any index is as good, also one by which all waiters of the key are read.
fn delete_waiters([tenant, key, seq]: [&str; 3], from: &str) -> String {
    format!(
        "DELETE FROM waiters WHERE ctid = ANY (ARRAY(\n    SELECT (\n        \
         SELECT w.ctid FROM waiters w WHERE w.tenant = {tenant} AND w.\"key\" = {key} \
         AND w.seq >= {seq} AND w.seq <= {seq} ORDER BY w.seq LIMIT 1\n    )\n    {from}\n))"
    )
}

/// Inserts rows from an array. Their tokens begin above the tenant's floor, which the same statement reads.
fn insert_rows(rows: &str) -> String {
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

fn update_one(condition: &str) -> String {
    let assignments =
        Columns::set_by_writes().list(|column| format!("{} = {}", column.name, parameter(column)));
    format!(
        "UPDATE locks SET\n    {assignments}\n\
         WHERE tenant = $1::text AND \"key\" = $2::text AND stamp = $4::uuid{condition}\n\
         RETURNING stamp, token, {DB_TIME}"
    )
}

/// The numbers of the waiters that leave and the rows of those that come follow the cells of the row.
fn update_with_waiters(notifications: &str) -> String {
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
fn upsert_waiters(rows: &str, condition: &str) -> String {
    let from = format!("FROM unnest({rows}::waiter_row[]) AS n\nWHERE {condition}");
    upsert("waiters", &Columns::of_waiters(), of_array, &from, "seq", &Columns::set_in_waiters())
}

/// Adds or changes rows.
fn upsert(
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
fn with_floor(token: &str, tenant: &str) -> String {
    format!(
        "greatest({token}, {token} % {TOKENS_OF_AN_EPOCH} + coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = {tenant}), 0))"
    )
}

/// A column of an array's row.
fn of_array(column: &Column) -> String {
    format!("n.{}", column.quoted())
}

/// A column of a row in JSON.
fn of_json(column: &Column) -> String {
    let index = column.number - 1;
    match type_of(column) {
        "text" => format!("x.v ->> {index}"),
        "boolean" => format!("x.v ->> {index} = '1'"),
        other => format!("(x.v ->> {index})::{other}"),
    }
}

/// The parameter that is bound after all cells of a key's row, counted from 1.
fn after_cells(number: usize) -> String {
    format!("${}", LOCK_CELLS + number)
}

/// The parameter for a column, with its type.
fn parameter(column: &Column) -> String {
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
