//! PostgreSQL's hot path, written out.
//!
//! NULLs do not go into the arrays: an absent value is the nil UUID, the empty owner or the smallest integer, none of which
//! can be meant. The conditional upsert needs no plan to be right; everything else is kept on its indexes by the settings
//! of the connection (see `connect`).

/// Conditional upsert of keys' rows.
///
/// A write decided on a row (`prev_stamp`) never creates one: the row may have been swept meanwhile. One that creates
/// begins its tokens above the tenant's floor, read in this very statement.
pub(super) const UPSERT: &str = r#"/* commit */
INSERT INTO locks (
    tenant, "key", stamp, prev_stamp, kind, token, data, version, chosen, owner, lease_ms, acquired_at_ms,
    expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters, next_seq,
    created_at_ms, updated_at_ms, sweep_at_ms)
SELECT
    n.tenant, n."key", n.stamp, nullif(n.prev_stamp, '00000000-0000-0000-0000-000000000000'), n.kind,
    n.token + CASE WHEN n.prev_stamp = '00000000-0000-0000-0000-000000000000' THEN coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = n.tenant), 0) ELSE 0 END,
    CASE WHEN n.has_data THEN n.data END, nullif(n.version, '00000000-0000-0000-0000-000000000000'),
    n.chosen, nullif(n.owner, ''), nullif(n.lease_ms, -9223372036854775808),
    nullif(n.acquired_at_ms, -9223372036854775808), nullif(n.expires_at_ms, -9223372036854775808),
    n.released, n.delete_on_release,
    CASE WHEN n.version <> '00000000-0000-0000-0000-000000000000' THEN n.nonce END, n.ended,
    nullif(n.max_size, 0), n.slots, n.waiters, n.next_seq, n.created_at_ms, n.updated_at_ms,
    nullif(n.sweep_at_ms, -9223372036854775808)
FROM unnest(
        $1::text[], $2::text[], $3::uuid[], $4::uuid[], $5::smallint[], $6::bigint[], $7::text[],
        $8::boolean[], $9::uuid[], $10::boolean[], $11::text[], $12::bigint[], $13::bigint[],
        $14::bigint[], $15::boolean[], $16::boolean[], $17::bigint[], $18::bytea[], $19::integer[],
        $20::integer[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[]
    ) AS n (
        tenant, "key", stamp, prev_stamp, kind, token, data, has_data, version, chosen, owner, lease_ms,
        acquired_at_ms, expires_at_ms, released, delete_on_release, nonce, ended, max_size, slots, waiters,
        next_seq, created_at_ms, updated_at_ms, sweep_at_ms)
WHERE n.prev_stamp = '00000000-0000-0000-0000-000000000000'
    OR (SELECT l.stamp FROM locks l WHERE l.tenant = n.tenant AND l."key" = n."key") IS NOT NULL
ORDER BY n.tenant COLLATE "C", n."key" COLLATE "C"
ON CONFLICT (tenant, "key") DO UPDATE SET
    stamp = excluded.stamp, kind = excluded.kind, token = excluded.token,
    data = excluded.data, version = excluded.version, chosen = excluded.chosen, owner = excluded.owner,
    lease_ms = excluded.lease_ms, acquired_at_ms = excluded.acquired_at_ms,
    expires_at_ms = excluded.expires_at_ms, released = excluded.released,
    delete_on_release = excluded.delete_on_release, nonce = excluded.nonce, ended = excluded.ended,
    max_size = excluded.max_size, slots = excluded.slots, waiters = excluded.waiters,
    next_seq = excluded.next_seq, created_at_ms = excluded.created_at_ms,
    updated_at_ms = excluded.updated_at_ms, sweep_at_ms = excluded.sweep_at_ms
WHERE locks.stamp = excluded.prev_stamp
RETURNING stamp, token, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS told, tenant, "key""#;

/// A single new row: a lone command is not made to wait for what makes many cheap. `$4`, the stamp it was decided on, is
/// NULL here.
pub(super) const INSERT_ONE: &str = r#"/* commit_new */
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
RETURNING stamp, token, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"#;

/// A single row that was there.
pub(super) const UPDATE_ONE: &str = r#"/* commit_one */
UPDATE locks SET
    stamp = $3::uuid, kind = $5::smallint, token = $6::bigint, data = $7::text, version = $8::uuid,
    chosen = $9::boolean, owner = $10::text, lease_ms = $11::bigint, acquired_at_ms = $12::bigint,
    expires_at_ms = $13::bigint, released = $14::boolean, delete_on_release = $15::boolean,
    nonce = $16::bigint, ended = $17::bytea, max_size = $18::integer, slots = $19::integer,
    waiters = $20::bigint, next_seq = $21::bigint, created_at_ms = $22::bigint, updated_at_ms = $23::bigint,
    sweep_at_ms = $24::bigint
WHERE tenant = $1::text AND "key" = $2::text AND stamp = $4::uuid
RETURNING stamp, token, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS told"#;

/// The same with what changes in its queue, and who is told of it: the hand-over of a lock. `{update}` is [`UPDATE_ONE`].
pub(super) const UPDATE_WITH_WAITERS: &str = r#"/* commit_with_waiters */
WITH won AS (
{update}
), gone AS (
    DELETE FROM waiters w
    WHERE w.tenant = $1::text AND w."key" = $2::text AND w.seq = ANY ($25::bigint[]) AND EXISTS (SELECT FROM won)
), standing AS (
    INSERT INTO waiters (
        tenant, "key", seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, replica,
        nonce, offered_until_ms, detached_until_ms)
    SELECT
        $1::text, $2::text, n.seq, n.version, n.chosen, n.owner, n.lease_ms,
        CASE WHEN n.has_data THEN n.data END, n.replace_data, n.delete_on_release,
        nullif(n.replica, '00000000-0000-0000-0000-000000000000'), nullif(n.nonce, -9223372036854775808),
        nullif(n.offered_until_ms, -9223372036854775808), nullif(n.detached_until_ms, -9223372036854775808)
    FROM unnest(
            $26::bigint[], $27::uuid[], $28::boolean[], $29::text[], $30::bigint[], $31::text[],
            $32::boolean[], $33::boolean[], $34::boolean[], $35::uuid[], $36::bigint[], $37::bigint[],
            $38::bigint[]
        ) AS n (
            seq, version, chosen, owner, lease_ms, data, has_data, replace_data, delete_on_release, replica,
            nonce, offered_until_ms, detached_until_ms)
    WHERE EXISTS (SELECT FROM won)
    ON CONFLICT (tenant, "key", seq) DO UPDATE SET
        replica = excluded.replica, nonce = excluded.nonce, offered_until_ms = excluded.offered_until_ms,
        detached_until_ms = excluded.detached_until_ms
)
SELECT won.stamp, won.token, won.told,
    (SELECT count(pg_notify(t.channel, t.payload)) FROM unnest($39::text[], $40::text[]) AS t (channel, payload))
FROM won"#;

/// [`UPSERT`], which stands for `{upsert}`, with what hangs on the rows, for the writes that win: one statement, one round
/// trip, one commit.
pub(super) const UPSERT_WITH_CHILDREN: &str = r#"/* commit_with_children */
WITH won AS (
{upsert}
), gone AS (
    DELETE FROM waiters w
    USING json_array_elements($26::json) AS x (v)
    JOIN won ON won.tenant = x.v ->> 0 AND won."key" = x.v ->> 1
    WHERE w.tenant = x.v ->> 0 AND w."key" = x.v ->> 1 AND w.seq = (x.v ->> 2)::bigint
), standing AS (
    INSERT INTO waiters (
        tenant, "key", seq, version, chosen, owner, lease_ms, data, replace_data, delete_on_release, replica,
        nonce, offered_until_ms, detached_until_ms)
    SELECT
        x.v ->> 0, x.v ->> 1, (x.v ->> 2)::bigint, (x.v ->> 3)::uuid, x.v ->> 4 = '1', x.v ->> 5,
        (x.v ->> 6)::bigint, x.v ->> 7, x.v ->> 8 = '1', x.v ->> 9 = '1', (x.v ->> 10)::uuid,
        (x.v ->> 11)::bigint, (x.v ->> 12)::bigint, (x.v ->> 13)::bigint
    FROM json_array_elements($27::json) AS x (v)
    JOIN won ON won.tenant = x.v ->> 0 AND won."key" = x.v ->> 1
    ON CONFLICT (tenant, "key", seq) DO UPDATE SET
        replica = excluded.replica, nonce = excluded.nonce, offered_until_ms = excluded.offered_until_ms,
        detached_until_ms = excluded.detached_until_ms
), granted AS (
    INSERT INTO permits (
        tenant, "key", slot, version, chosen, token, owner, lease_ms, acquired_at_ms, expires_at_ms, released,
        nonce, data, updated_at_ms)
    SELECT
        x.v ->> 0, x.v ->> 1, (x.v ->> 2)::integer, (x.v ->> 3)::uuid, x.v ->> 4 = '1', (x.v ->> 5)::bigint,
        x.v ->> 6, (x.v ->> 7)::bigint, (x.v ->> 8)::bigint, (x.v ->> 9)::bigint, x.v ->> 10 = '1',
        (x.v ->> 11)::bigint, x.v ->> 12, (x.v ->> 13)::bigint
    FROM json_array_elements($28::json) AS x (v)
    JOIN won ON won.tenant = x.v ->> 0 AND won."key" = x.v ->> 1
    ON CONFLICT (tenant, "key", slot) DO UPDATE SET
        version = excluded.version, chosen = excluded.chosen, token = excluded.token, owner = excluded.owner,
        lease_ms = excluded.lease_ms, acquired_at_ms = excluded.acquired_at_ms,
        expires_at_ms = excluded.expires_at_ms, released = excluded.released, nonce = excluded.nonce,
        data = excluded.data, updated_at_ms = excluded.updated_at_ms
), told AS (
    SELECT count(pg_notify(x.v ->> 2, x.v ->> 3)) AS nudges
    FROM json_array_elements($29::json) AS x (v)
    JOIN won ON won.tenant = x.v ->> 0 AND won."key" = x.v ->> 1
)
SELECT won.stamp, won.token, coalesce(won.told, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint),
    told.nudges
FROM told LEFT JOIN won ON true"#;

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
pub(super) const LOAD_ROWS: &str = r#"/* load */
SELECT n.n, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    l.tenant, l."key", l.stamp, l.prev_stamp, l.kind, l.token, l.data, l.version, l.chosen, l.owner,
    l.lease_ms, l.acquired_at_ms, l.expires_at_ms, l.released, l.delete_on_release, l.nonce, l.ended,
    l.max_size, l.slots, l.waiters, l.next_seq, l.created_at_ms, l.updated_at_ms, l.sweep_at_ms
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (tenant, "key", n)
LEFT JOIN locks l ON l.tenant = n.tenant AND l."key" = n."key""#;
