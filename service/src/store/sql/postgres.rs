//! PostgreSQL's hot path, written out.
//!
//! Rows go to the server as arrays of composite types, one parameter a table: an array a column made the server keep a
//! result for each of them. Rows that were there are updated and then rows that were not are inserted, sorted by their keys
//! in both. A row that another statement is updating is not waited for by one that would insert it: it can be seen, and
//! the guess that there is none has failed. So no two statements wait for each other in a circle, but for a row that
//! appears between a statement's snapshot and its insert; the server breaks that one up. What decides is the condition on
//! the row version; every plan is kept on its indexes by the settings of the connection (see `connect`).

/// The clock, rounded down. Inside a `SELECT` of its own it is read once a statement instead of once a row.
macro_rules! db_time {
    () => {
        "(SELECT floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) AS told"
    };
}

/// Rows that were there, from the parameter `$rows`: each only if it still bears the row version that the write was decided on.
/// A write decided on a row never creates one: the row may have been swept meanwhile.
macro_rules! update_rows {
    ($rows:literal) => {
        concat!(
            r#"UPDATE locks SET
    stamp = n.stamp, kind = n.kind, token = n.token, data = n.data, version = n.version, chosen = n.chosen,
    owner = n.owner, lease_ms = n.lease_ms, acquired_at_ms = n.acquired_at_ms, expires_at_ms = n.expires_at_ms,
    released = n.released, delete_on_release = n.delete_on_release, nonce = n.nonce, ended = n.ended,
    max_size = n.max_size, slots = n.slots, waiters = n.waiters, next_seq = n.next_seq,
    created_at_ms = n.created_at_ms, updated_at_ms = n.updated_at_ms, sweep_at_ms = n.sweep_at_ms
FROM unnest("#,
            $rows,
            r#"::lock_row[]) AS n
WHERE locks.tenant = n.tenant AND locks."key" = n."key" AND locks.stamp = n.prev_stamp
RETURNING locks.stamp, locks.token, "#,
            db_time!()
        )
    };
}

/// Rows that were not there, from the parameter `$rows`; their tokens begin above the tenant's floor, read in this very
/// statement.
macro_rules! insert_rows {
    ($rows:literal) => {
        concat!(
            r#"INSERT INTO locks (
    tenant, "key", stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms)
SELECT
    n.tenant, n."key", n.stamp, NULL, n.kind,
    n.token + coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = n.tenant), 0), n.data, n.version,
    n.chosen, n.owner, n.lease_ms, n.acquired_at_ms, n.expires_at_ms, n.released, n.delete_on_release, n.nonce,
    n.ended, n.max_size, n.slots, n.waiters, n.next_seq, n.created_at_ms, n.updated_at_ms, n.sweep_at_ms
FROM unnest("#,
            $rows,
            r#"::lock_row[]) AS n
WHERE NOT EXISTS (SELECT FROM locks l WHERE l.tenant = n.tenant AND l."key" = n."key")
ON CONFLICT (tenant, "key") DO NOTHING
RETURNING stamp, token, "#,
            db_time!()
        )
    };
}

/// A single row that was there.
macro_rules! update_one {
    () => {
        concat!(
            r#"UPDATE locks SET
    stamp = $3::uuid, kind = $5::smallint, token = $6::bigint, data = $7::text, version = $8::uuid,
    chosen = $9::boolean, owner = $10::text, lease_ms = $11::bigint, acquired_at_ms = $12::bigint,
    expires_at_ms = $13::bigint, released = $14::boolean, delete_on_release = $15::boolean,
    nonce = $16::bigint, ended = $17::bytea, max_size = $18::integer, slots = $19::integer,
    waiters = $20::bigint, next_seq = $21::bigint, created_at_ms = $22::bigint, updated_at_ms = $23::bigint,
    sweep_at_ms = $24::bigint
WHERE tenant = $1::text AND "key" = $2::text AND stamp = $4::uuid
RETURNING stamp, token, "#,
            db_time!()
        )
    };
}

/// Waiters that come or change, from the parameter `$rows`, for writes that won.
macro_rules! put_waiters {
    ($rows:literal, $won:literal) => {
        concat!(
            r#"INSERT INTO waiters (
        tenant, "key", seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, replica,
        nonce, offered_until_ms, detached_until_ms)
    SELECT
        n.tenant, n."key", n.seq, n.version, n.chosen, n.owner, n.lease_ms, n.data, n.replace_data,
        n.delete_on_release, n.replica, n.nonce, n.offered_until_ms, n.detached_until_ms
    FROM unnest("#,
            $rows,
            "::waiter_row[]) AS n\n    WHERE ",
            $won,
            r#"
    ON CONFLICT (tenant, "key", seq) DO UPDATE SET
        replica = excluded.replica, nonce = excluded.nonce, offered_until_ms = excluded.offered_until_ms,
        detached_until_ms = excluded.detached_until_ms"#
        )
    };
}

/// Keys' rows that were there: the common batch.
pub(in super::super) const UPDATE: &str = concat!("/* commit */\n", update_rows!("$1"));

/// Keys' rows that were there (`$1`) and that were not (`$2`).
pub(in super::super) const UPDATE_AND_INSERT: &str = concat!(
    "/* commit_mixed */\nWITH updated AS (\n",
    update_rows!("$1"),
    "\n), created AS (\n",
    insert_rows!("$2"),
    "\n)\nSELECT stamp, token, told FROM updated UNION ALL SELECT stamp, token, told FROM created"
);

/// A single row that was there: a lone command is not made to wait for what makes many cheap.
pub(in super::super) const UPDATE_ONE: &str = concat!("/* commit_one */\n", update_one!());

/// A single new row. `$4`, the row version it was decided on, is NULL here.
pub(in super::super) const INSERT_ONE: &str = concat!(
    r#"/* commit_new */
INSERT INTO locks (
    tenant, "key", stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms)
VALUES (
    $1::text, $2::text, $3::uuid, $4::uuid, $5::smallint,
    $6::bigint + coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = $1::text), 0),
    $7::text, $8::uuid, $9::boolean, $10::text, $11::bigint, $12::bigint, $13::bigint, $14::boolean,
    $15::boolean, $16::bigint, $17::bytea, $18::integer, $19::integer, $20::bigint, $21::bigint,
    $22::bigint, $23::bigint, $24::bigint)
ON CONFLICT (tenant, "key") DO NOTHING
RETURNING stamp, token, "#,
    db_time!()
);

/// A single row that was there, with what changes in its queue.
macro_rules! update_with_waiters {
    ($notifications:literal) => {
        concat!(
            "/* commit_with_waiters */\nWITH won AS (\n",
            update_one!(),
            r#"
), gone AS (
    DELETE FROM waiters w
    WHERE w.tenant = $1::text AND w."key" = $2::text AND w.seq = ANY ($25::bigint[]) AND EXISTS (SELECT FROM won)
), standing AS (
    "#,
            put_waiters!("$26", "EXISTS (SELECT FROM won)"),
            "\n)\nSELECT won.stamp, won.token, won.told",
            $notifications,
            "\nFROM won"
        )
    };
}

/// The hand-over of a lock within a replica.
pub(in super::super) const UPDATE_WITH_WAITERS: &str = update_with_waiters!("");

/// The same where another replica is told of it.
pub(in super::super) const UPDATE_WITH_WAITERS_AND_NOTIFICATIONS: &str = update_with_waiters!(
    ",\n    (SELECT count(pg_notify(t.channel, $28::text)) FROM unnest($27::text[]) AS t (channel))"
);

/// Keys' rows that were there (`$1`) and that were not (`$2`), with what hangs on those that win: one statement, one round
/// trip, one commit. Whether a write won is looked up in a hash table: a join of the two lists would compare all with all.
pub(in super::super) const UPDATE_AND_INSERT_WITH_CHILDREN: &str = concat!(
    "/* commit_with_children */\nWITH updated AS (\n",
    update_rows!("$1"),
    "\n), created AS (\n",
    insert_rows!("$2"),
    r#"
), won AS (
    SELECT stamp, token, told FROM updated UNION ALL SELECT stamp, token, told FROM created
), gone AS (
    DELETE FROM waiters w
    USING unnest($3::waiter_row[]) AS n
    WHERE w.tenant = n.tenant AND w."key" = n."key" AND w.seq = n.seq
        AND (n.stamp IN (SELECT stamp FROM won)) IS TRUE
), standing AS (
    "#,
    put_waiters!("$4", "(n.stamp IN (SELECT stamp FROM won)) IS TRUE"),
    r#"
), granted AS (
    INSERT INTO permits (
        tenant, "key", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, released,
        nonce, data, updated_at_ms)
    SELECT
        n.tenant, n."key", n.slot, n.version, n.chosen, n.token, n.owner, n.lease_ms, n.acquired_at_ms,
        n.expires_at_ms, n.released, n.nonce, n.data, n.updated_at_ms
    FROM unnest($5::permit_row[]) AS n
    WHERE (n.stamp IN (SELECT stamp FROM won)) IS TRUE
    ON CONFLICT (tenant, "key", slot) DO UPDATE SET
        version = excluded.version, chosen = excluded.chosen, token = excluded.token, owner = excluded.owner,
        lease_ms = excluded.lease_ms, acquired_at_ms = excluded.acquired_at_ms,
        expires_at_ms = excluded.expires_at_ms, released = excluded.released, nonce = excluded.nonce,
        data = excluded.data, updated_at_ms = excluded.updated_at_ms
), nudged AS (
    SELECT count(pg_notify(n.channel, n.payload)) AS nudges
    FROM unnest($6::uuid[], $7::text[], $8::text[]) AS n (stamp, channel, payload)
    WHERE (n.stamp IN (SELECT stamp FROM won)) IS TRUE
)
SELECT won.stamp, won.token, won.told, nudged.nudges
FROM nudged LEFT JOIN won ON true"#
);

// The rest is for transactions, which clear permits or decide under a lock: rare, and through SeaORM, which has no composite
// types.

/// Waiters that go.
pub(super) const WAITERS_GONE: &str = r#"/* waiters_gone */
DELETE FROM waiters w
USING json_array_elements($1::json) AS x (v)
WHERE w.tenant = x.v ->> 0 AND w."key" = x.v ->> 1 AND w.seq = (x.v ->> 2)::bigint"#;

/// Waiters that come or change.
pub(super) const WAITERS_PUT: &str = r#"/* waiters_put */
INSERT INTO waiters (
    tenant, "key", seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, replica,
    nonce, offered_until_ms, detached_until_ms)
SELECT
    x.v ->> 0, x.v ->> 1, (x.v ->> 2)::bigint, (x.v ->> 3)::uuid, x.v ->> 4 = '1', x.v ->> 5,
    (x.v ->> 6)::bigint, x.v ->> 7, x.v ->> 8 = '1', x.v ->> 9 = '1', (x.v ->> 10)::uuid,
    (x.v ->> 11)::bigint, (x.v ->> 12)::bigint, (x.v ->> 13)::bigint
FROM json_array_elements($1::json) AS x (v)
ON CONFLICT (tenant, "key", seq) DO UPDATE SET
    replica = excluded.replica, nonce = excluded.nonce, offered_until_ms = excluded.offered_until_ms,
    detached_until_ms = excluded.detached_until_ms"#;

/// Permits that come or change.
pub(super) const PERMITS_PUT: &str = r#"/* permits_put */
INSERT INTO permits (
    tenant, "key", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, released,
    nonce, data, updated_at_ms)
SELECT
    x.v ->> 0, x.v ->> 1, (x.v ->> 2)::integer, (x.v ->> 3)::uuid, x.v ->> 4 = '1', (x.v ->> 5)::bigint,
    x.v ->> 6, (x.v ->> 7)::bigint, (x.v ->> 8)::bigint, (x.v ->> 9)::bigint, x.v ->> 10 = '1',
    (x.v ->> 11)::bigint, x.v ->> 12, (x.v ->> 13)::bigint
FROM json_array_elements($1::json) AS x (v)
ON CONFLICT (tenant, "key", slot) DO UPDATE SET
    version = excluded.version, chosen = excluded.chosen, token = excluded.token, owner = excluded.owner,
    lease_ms = excluded.lease_ms, acquired_at_ms = excluded.acquired_at_ms,
    expires_at_ms = excluded.expires_at_ms, released = excluded.released, nonce = excluded.nonce,
    data = excluded.data, updated_at_ms = excluded.updated_at_ms"#;

/// Keys' rows with the time, a row a key asked for.
pub(in super::super) const LOAD_ROWS: &str = concat!(
    "/* load */\nSELECT n.n, ",
    db_time!(),
    r#",
    l.tenant, l."key", l.stamp, l.prev_stamp, l.kind, l.token, l.data, l.version, l.chosen, l.owner,
    l.lease_ms, l.acquired_at_ms, l.expires_at_ms, l.released, l.delete_on_release, l.nonce, l.ended,
    l.max_size, l.slots, l.waiters, l.next_seq, l.created_at_ms, l.updated_at_ms, l.sweep_at_ms
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (tenant, "key", n)
LEFT JOIN locks l ON l.tenant = n.tenant AND l."key" = n."key""#
);
