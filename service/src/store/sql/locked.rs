//! Statements that find locked rows. They lock each row that can be locked at once, until they end.

/// On PostgreSQL a single statement: keys with a row that was there when it began and could not be locked. An update of ours
/// needs no stronger lock than this one.
pub(in super::super) const POSTGRES: &str = r#"/* find_locked */
WITH free AS MATERIALIZED (
    SELECT l.tenant, l."key"
    FROM unnest($1::text[], $2::text[]) AS n (tenant, "key")
    JOIN locks l ON l.tenant = n.tenant AND l."key" = n."key"
    FOR NO KEY UPDATE OF l SKIP LOCKED
)
SELECT l.tenant, l."key"
FROM unnest($1::text[], $2::text[]) AS n (tenant, "key")
JOIN locks l ON l.tenant = n.tenant AND l."key" = n."key"
WHERE NOT EXISTS (SELECT FROM free f WHERE f.tenant = l.tenant AND f."key" = l."key")"#;

/// Keys with a row, on MariaDB and MySQL.
pub(super) const MYSQL_THERE: &str = r"/* find_there */
SELECT l.tenant, l.`key`
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]'
    )) AS n
STRAIGHT_JOIN locks l ON l.tenant = n.c1 COLLATE {binary} AND l.`key` = n.c2 COLLATE {binary}";

/// Of these the ones that could be locked.
pub(super) const SKIP_LOCKED: &str = "\nFOR UPDATE SKIP LOCKED";
