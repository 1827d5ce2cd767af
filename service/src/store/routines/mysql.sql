DROP PROCEDURE IF EXISTS db_locks_guard_in
-- next statement
CREATE PROCEDURE db_locks_guard_in(
    in_key VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary},
    in_version TEXT CHARACTER SET utf8mb4,
    in_tenant VARCHAR(64) CHARACTER SET utf8mb4 COLLATE {binary}
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
COMMENT '{mark}'
BEGIN
    DECLARE v_digits TEXT CHARACTER SET utf8mb4;
    DECLARE v_asked, v_named BINARY(16);
    DECLARE v_token BIGINT;
    DECLARE v_slot, v_kind INT;
    DECLARE v_rows, v_former, v_standing INT DEFAULT 0;
    DECLARE v_outside, v_writes BOOLEAN DEFAULT FALSE;
    DECLARE v_refusal INT DEFAULT 0;

    BEGIN
        DECLARE CONTINUE HANDLER FOR 1305 SET v_outside = TRUE;
        SAVEPOINT db_locks_guard_tx;
        RELEASE SAVEPOINT db_locks_guard_tx;
    END;
    BEGIN
        -- Within an XA transaction this asks for one that is not there; elsewhere there is none to be ended.
        DECLARE CONTINUE HANDLER FOR 1397 SET v_writes = TRUE;
        DECLARE CONTINUE HANDLER FOR 1399 BEGIN END;
        XA END 'db_locks: no such transaction';
    END;
    IF v_outside AND NOT v_writes THEN
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30003,
            MESSAGE_TEXT = 'DL003 db_locks_guard: no transaction is open; begin one before the guard is called';
    END IF;

    IF {isolation} = 'SERIALIZABLE' THEN
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30004,
            MESSAGE_TEXT = 'DL004 db_locks_guard: at SERIALIZABLE its reads would lock rows of others; use REPEATABLE READ';
    END IF;

    SET v_digits = REPLACE(in_version, '-', '');
    -- Its `$` also matches before a newline.
    IF CHAR_LENGTH(v_digits) = 32 AND v_digits REGEXP '^[0-9a-fA-F]{32}$' THEN
        SET v_asked = UNHEX(v_digits);
    END IF;
    -- Plain reads first: a refused call must not keep a lock, which would last until the end of its transaction. A
    -- transaction whose level is SERIALIZABLE for it alone cannot be detected, and locks all that it reads. So only a
    -- version that the guard rows name reads the rows that other commands need.
    SELECT COUNT(*), MAX(IF(g.version = v_asked, g.slot, NULL)), MAX(g.previous = v_asked)
    INTO v_rows, v_slot, v_former FROM db_locks_guards AS g
    WHERE g.tenant = in_tenant AND g.`key` = in_key;
    IF v_rows = 0 THEN
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001,
            MESSAGE_TEXT = 'DL001 db_locks_guard: the key is not guarded; acquire it with "guarded": true';
    ELSEIF v_asked IS NULL OR v_former THEN
        SET v_refusal = 30001;
    ELSEIF v_slot IS NULL THEN
        -- The snapshot of the transaction is older than the grant, or the version never was that of a guarded grant.
        SET v_refusal = 30002;
    ELSE
        SELECT MAX(l.kind), MAX(l.version = v_asked AND NOT l.released) INTO v_kind, v_standing FROM locks AS l
        WHERE l.tenant = in_tenant AND l.`key` = in_key;
        -- A permit that is not there would lock the gap in which others are created.
        IF v_kind = 7 THEN
            SELECT COUNT(*) INTO v_standing FROM permits AS p
            WHERE p.tenant = in_tenant AND p.`key` = in_key AND p.slot = v_slot AND p.version = v_asked AND NOT p.released;
        END IF;
        IF NOT v_standing <=> 1 THEN
            SET v_refusal = 30001;
        END IF;
    END IF;

    IF v_refusal = 0 THEN
        IF {galera} OR v_writes THEN
            -- A lock for reading is local to a node of a cluster, and is not kept by a prepared transaction. A write is.
            UPDATE db_locks_guards SET uses = uses + 1
            WHERE tenant = in_tenant AND `key` = in_key AND slot = v_slot;
        END IF;
        SET v_named = NULL;
        SELECT g.version, g.token INTO v_named, v_token FROM db_locks_guards AS g
        WHERE g.tenant = in_tenant AND g.`key` = in_key AND g.slot = v_slot LOCK IN SHARE MODE;
        IF NOT v_named <=> v_asked THEN
            SET v_refusal = 30001;
        END IF;
    END IF;

    IF v_refusal = 30002 THEN
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30002,
            MESSAGE_TEXT = 'DL002 db_locks_guard: the transaction does not see such a guarded grant; begin it after the acquire was answered';
    ELSEIF v_refusal <> 0 THEN
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001,
            MESSAGE_TEXT = 'DL001 db_locks_guard: the version is not the one of the standing grant';
    END IF;
    SELECT v_token AS fencing_token;
END
-- next statement
DROP PROCEDURE IF EXISTS db_locks_guard
-- next statement
CREATE PROCEDURE db_locks_guard(
    in_key VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {binary},
    in_version TEXT CHARACTER SET utf8mb4
)
MODIFIES SQL DATA
SQL SECURITY DEFINER
COMMENT '{mark}'
BEGIN
    CALL db_locks_guard_in(in_key, in_version, 'default');
END
