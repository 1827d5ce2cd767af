CREATE OR REPLACE FUNCTION {schema}.db_locks_guard(key text, version uuid, tenant text DEFAULT 'default')
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $db_locks_guard$
-- {mark}
DECLARE
    place integer;
    named uuid;
    fencing_token bigint;
    granted timestamptz;
    granted_under text;
    stands boolean;
BEGIN
    -- A permit has a slot of its own; a lock has slot 0.
    SELECT g.slot INTO place
    FROM {schema}.db_locks_guards AS g
    WHERE g.tenant = $3 AND g.key = $1 AND g.version = $2;
    stands := place IS NOT NULL AND (
        EXISTS (
            SELECT FROM {schema}.locks AS l
            WHERE l.tenant = $3 AND l.key = $1 AND l.version = $2 AND NOT l.released
        ) OR EXISTS (
            SELECT FROM {schema}.permits AS p
            WHERE p.tenant = $3 AND p.key = $1 AND p.slot = place AND p.version = $2 AND NOT p.released
        )
    );
    -- What is over is refused before the row is locked: those who call again and again would keep the next holder out. An older
    -- snapshot cannot tell; such a transaction has to fail when it locks a row that was changed meanwhile (40001).
    IF stands OR current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        -- First the lock, then the comparison: the row may be changed until it is ours.
        SELECT g.version, g.token, g.granted_at, g.identity
        INTO named, fencing_token, granted, granted_under
        FROM {schema}.db_locks_guards AS g
        WHERE g.tenant = $3 AND g.key = $1 AND g.slot = coalesce(place, 0)
        FOR SHARE;
    END IF;
    IF NOT stands OR named IS DISTINCT FROM $2 THEN
        IF EXISTS (SELECT FROM {schema}.locks AS l WHERE l.tenant = $3 AND l.key = $1 AND l.kind >= 3) THEN
            RAISE EXCEPTION USING ERRCODE = 'DL001', MESSAGE =
                'DL001 db_locks_guard: the version is not the one of the standing grant; it was released, or another was granted since';
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'DL001', MESSAGE =
            'DL001 db_locks_guard: the key is not guarded; acquire it with "guarded": true';
    END IF;
    -- A transaction that began before the grant may have read what the former holder had not yet written. None that began
    -- under another server is still there.
    IF granted_under = {identity} AND NOT transaction_timestamp() > granted THEN
        RAISE EXCEPTION USING ERRCODE = 'DL002', MESSAGE =
            'DL002 db_locks_guard: the transaction began before the grant; begin it after the acquire was answered';
    END IF;
    RETURN fencing_token;
END
$db_locks_guard$;
CREATE OR REPLACE FUNCTION {schema}.db_locks_guard(key text, version text, tenant text DEFAULT 'default')
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $db_locks_guard$
-- {mark}
DECLARE
    digits text := lower(replace($2, '-', ''));
BEGIN
    RETURN {schema}.db_locks_guard($1, CASE WHEN digits ~ '^[0-9a-f]{32}$' THEN digits::uuid END, $3);
END
$db_locks_guard$;
