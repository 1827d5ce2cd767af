//! PostgreSQL's statements of the hot path.
//!
//! Rows go to the server as arrays of composite types, one parameter for each table: with an array for each column the
//! server keeps a result for each array. Rows that exist are updated first, then the others are inserted, both in the
//! order of the keys. An insert does not wait for a row that another statement is updating: the row is visible, so the
//! insert finds that it has lost its race. So no two statements wait for each other in a circle, except for a row that
//! appears between a statement's snapshot and its insert; the server resolves that. The condition on the row version
//! decides which write wins. The settings of the connection keep every plan on its indexes (see `session`).

use std::sync::LazyLock;

use super::clauses::{
    DB_TIME, FROM_JSON, WRITE_WON, after_cells, delete_waiters, insert_rows, of_array, of_json, parameter,
    row_of_n, row_with, update_one, update_rows, update_with_waiters, upsert, upsert_waiters, with_floor,
};
use crate::store::{columns::Columns, dialect::Dialect};

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

/// Loads the rows `w` of a table that have a version, with `versions` parameters after tenant and key.
pub(in super::super) fn of_versions(columns: &str, table: &str, versions: usize) -> String {
    let parameters: Vec<_> = (3..3 + versions).map(|parameter| format!("(${parameter}::uuid)")).collect();
    format!(
        "SELECT {columns} FROM (VALUES {}) AS n (version)\nCROSS JOIN LATERAL ({}) AS w",
        parameters.join(", "),
        row_with("*", table, ["$1", "$2"], ("version", "n.version"))
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

/// Removes permits.
pub(in super::super) const PERMITS_CLEAR: &str = "/* permits_clear */ DELETE FROM permits WHERE ctid = ANY (ARRAY(\
    SELECT ctid FROM permits WHERE tenant = $1 AND \"key\" = $2 AND slot >= $3 ORDER BY slot))";

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
