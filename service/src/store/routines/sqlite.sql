DROP VIEW IF EXISTS db_locks_guard;
CREATE VIEW db_locks_guard AS
-- {mark}
SELECT tenant, "key", lower(hex(version)) AS version, token AS fencing_token
FROM db_locks_guards WHERE version IS NOT NULL;
CREATE TRIGGER db_locks_guard_check INSTEAD OF INSERT ON db_locks_guard
BEGIN
    SELECT CASE
        WHEN NOT EXISTS (
            SELECT 1 FROM locks AS l
            WHERE l.tenant = coalesce(NEW.tenant, 'default') AND l."key" = NEW."key" AND l.kind >= 3
        ) THEN RAISE(ABORT, 'DL001 db_locks_guard: the key is not guarded; acquire it with "guarded": true')
        WHEN NOT EXISTS (
            SELECT 1 FROM db_locks_guards AS g
            WHERE g.tenant = coalesce(NEW.tenant, 'default') AND g."key" = NEW."key"
                AND hex(g.version) = upper(replace(NEW.version, '-', ''))
        ) THEN RAISE(ABORT, 'DL001 db_locks_guard: the version is not the one of the standing grant; it was released, or another was granted since')
    END;
END;
