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
    DECLARE v_slot INT DEFAULT 0;
    DECLARE v_rows, v_former, v_guarded, v_standing INT DEFAULT 0;
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
    -- Plain reads first: a refused call must not keep a lock, which would last until the end of its transaction.
    SELECT COUNT(*), MAX(g.slot) INTO v_rows, v_slot FROM db_locks_guards AS g
    WHERE g.tenant = in_tenant AND g.`key` = in_key AND g.version = v_asked;
    SET v_slot = COALESCE(v_slot, 0);
    SELECT COUNT(*) INTO v_former FROM db_locks_guards AS g
    WHERE g.tenant = in_tenant AND g.`key` = in_key AND g.previous = v_asked;
    SELECT COUNT(*), MAX(g.version) INTO v_rows, v_named FROM db_locks_guards AS g
    WHERE g.tenant = in_tenant AND g.`key` = in_key AND g.slot = v_slot;
    SELECT COUNT(*) INTO v_standing FROM locks AS l
    WHERE l.tenant = in_tenant AND l.`key` = in_key AND l.version = v_asked AND NOT l.released;
    IF v_standing = 0 THEN
        SELECT COUNT(*) INTO v_standing FROM permits AS p
        WHERE p.tenant = in_tenant AND p.`key` = in_key AND p.slot = v_slot AND p.version = v_asked AND NOT p.released;
    END IF;
    IF v_asked IS NULL OR v_rows = 0 OR v_former > 0 THEN
        SET v_refusal = 30001;
    ELSEIF NOT v_named <=> v_asked THEN
        -- The snapshot of the transaction is older than the grant, or the version never was the key's.
        SET v_refusal = 30002;
    ELSEIF v_standing = 0 THEN
        SET v_refusal = 30001;
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

    IF v_refusal <> 0 THEN
        SELECT COUNT(*) INTO v_guarded FROM locks AS l
        WHERE l.tenant = in_tenant AND l.`key` = in_key AND l.kind >= 3;
        IF v_guarded = 0 THEN
            SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001,
                MESSAGE_TEXT = 'DL001 db_locks_guard: the key is not guarded; acquire it with "guarded": true';
        END IF;
        IF v_refusal = 30002 THEN
            SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30002,
                MESSAGE_TEXT = 'DL002 db_locks_guard: the transaction does not see the grant; begin it after the acquire was answered';
        END IF;
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
