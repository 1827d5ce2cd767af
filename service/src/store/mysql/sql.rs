//! Statements of the hot path of MariaDB and MySQL.
//!
//! `ON DUPLICATE KEY UPDATE` has no condition, so every assignment has one: `IF(stamp = VALUES(prev_stamp), …)`. An
//! assignment sees the results of earlier ones, so `stamp`, on which the condition depends, comes last. The number of
//! affected rows says nothing (the driver asks for found rows). A write has won if its row version is in the row
//! afterwards.
//!
//! A write that was decided on a row must not create one: the row may have been swept meanwhile. A row that was created
//! by mistake has a `prev_stamp`, which no committed row has. Readers skip such a row, it makes MariaDB's statement
//! fail, and it is deleted again (see `commit`).

use std::sync::{Arc, OnceLock};

use sea_orm::{ColumnType, sea_query::StringLen};

use crate::domain::TOKENS_OF_AN_EPOCH;
use crate::store::{
    columns::{Column, Columns},
    dialect::Dialect,
};

/// The numbers of rows that have a statement. They lie close together, so few rows are written twice.
const ROWS: [usize; 18] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256];

/// Conditional upserts of keys' rows, a text for each number of rows. These servers are fastest with lists of values: a
/// row from `JSON_TABLE` took four times as long, since each column scans the row's text again.
///
/// A batch is filled up with its last row to the next number that has a text. To write that row again changes nothing,
/// since it no longer has the version that the write was decided on.
#[derive(Debug)]
pub(in super::super) struct Upserts {
    returning: &'static str,
    /// Whether each text is a block with a transaction of its own, for a node of a Galera cluster.
    is_block: bool,
    /// The texts of [`Shape::Known`] and [`Shape::Mixed`] for each number of rows, made when they are first needed.
    texts: [[OnceLock<Arc<str>>; 2]; ROWS.len()],
}

/// The kinds of rows in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shape {
    /// All rows exist.
    Known,
    /// Some rows may be new. Each row has two more values after its token: the token again, and the tenant. The row's
    /// tokens begin above that tenant's floor, which the same statement reads. The tenant is NULL if the row exists.
    Mixed,
}

impl Upserts {
    pub(in super::super) fn new(dialect: Dialect) -> Self {
        let returning = if dialect == Dialect::MariaDb { RETURNING } else { "" };
        Self { returning, is_block: false, texts: Default::default() }
    }

    /// Statements with a transaction around each, for a node of a Galera cluster: see `block`.
    pub(in super::super) fn in_blocks(dialect: Dialect) -> Self {
        Self { is_block: true, ..Self::new(dialect) }
    }

    /// The statement for at least `rows` rows, and the number of rows that it takes. `None` if no statement takes so
    /// many.
    pub(in super::super) fn of(&self, shape: Shape, rows: usize) -> Option<(usize, Arc<str>)> {
        let (size, [known, mixed]) = ROWS.into_iter().zip(&self.texts).find(|(size, _)| *size >= rows)?;
        let text = match shape {
            Shape::Known => known,
            Shape::Mixed => mixed,
        };
        Some((size, text.get_or_init(|| self.text(shape, size).into()).clone()))
    }

    fn text(&self, shape: Shape, rows: usize) -> String {
        let columns = Columns::of_locks();
        let row = columns.list(|column| match (shape, column.name) {
            (Shape::Mixed, "token") => {
                format!(
                    "GREATEST(?, ? % {TOKENS_OF_AN_EPOCH} + COALESCE((SELECT f.`floor` FROM token_floors f WHERE f.tenant = ?), 0))"
                )
            }
            _ => "?".to_owned(),
        });
        let assign = |column: &Column| {
            format!("{0} = IF(locks.stamp = VALUES(prev_stamp), VALUES({0}), locks.{0})", column.name)
        };
        let assignments = Columns::set_by_writes().without(&["stamp"]).list(assign);
        let stamp = "stamp = IF(locks.stamp = VALUES(prev_stamp), VALUES(stamp), locks.stamp)";
        let statement = format!(
            "/* commit */\nINSERT INTO locks (\n    {})\nVALUES\n{}\nON DUPLICATE KEY UPDATE\n    {assignments},\n    {stamp}{}",
            columns.list(name),
            vec![format!("    ({row})"); rows].join(",\n"),
            self.returning
        );
        if self.is_block { block(&format!("START TRANSACTION;\n{statement};\nCOMMIT")) } else { statement }
    }
}

/// Makes a block of statements. If another node's commit undoes a transaction on a node of a Galera cluster, the server
/// goes on with a text of several statements: it carries out the next one as a transaction of its own. A block ends
/// instead. A transaction that was certified already is carried out again, and its answer then lacks its rows. A block
/// has sent its rows by then, since `COMMIT` is a statement of its own.
pub(super) fn block(statements: &str) -> String {
    format!("/* commit */\nBEGIN NOT ATOMIC\n{statements};\nEND")
}

/// The answer of MariaDB's upserts: the rows as they are afterwards, whichever write won. If a write that was decided
/// on a row has created one, the last column overflows, and the statement fails.
const RETURNING: &str = "\nRETURNING stamp, token, CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED), \
                         9223372036854775807 + (prev_stamp IS NOT NULL)";

/// Joins the keys of a JSON text with their rows in a table. `$ordinality` adds the number of each key, or nothing.
macro_rules! from_keys {
    ($ordinality:literal, $join:literal) => {
        from_keys!($ordinality, $join, "locks l")
    };
    ($ordinality:literal, $join:literal, $table:literal) => {
        concat!(
            "FROM JSON_TABLE(?, '$[*]' COLUMNS (\n        ",
            $ordinality,
            "c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',\n        \
             c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]'\n    )) AS n\n",
            $join,
            " ",
            $table,
            " ON l.tenant = n.c1 COLLATE {binary} AND l.`key` = n.c2 COLLATE {binary}"
        )
    };
}

/// Reads rows after an upsert, and whether a write that was decided on a row has created one.
pub(in super::super) const READ_BACK: &str = concat!(
    "/* read_back */\nSELECT l.stamp, l.token, {now}, l.prev_stamp IS NOT NULL, l.tenant, l.`key`\n",
    from_keys!("", "STRAIGHT_JOIN")
);

/// Finds the rows of keys, or of their guards, in the order of the keys. Without the index's name MySQL could read, and lock, all
/// guard rows.
pub(in super::super) const FROM_KEYS: &str = from_keys!("", "STRAIGHT_JOIN", "locks l FORCE INDEX (PRIMARY)");
pub(in super::super) const FROM_GUARDS: &str =
    from_keys!("", "STRAIGHT_JOIN", "db_locks_guards l FORCE INDEX (PRIMARY)");

/// Removes guard rows. Without the index's name, MariaDB reads all rows of a small table, and waits for those that others have locked.
pub(in super::super) const GUARDS_GONE: &str = r"/* guards_gone */
DELETE g
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]',
        c3 INT PATH '$[2]'
    )) AS n
STRAIGHT_JOIN db_locks_guards g FORCE INDEX (PRIMARY)
    ON g.tenant = n.c1 COLLATE {binary} AND g.`key` = n.c2 COLLATE {binary} AND g.slot = n.c3";

/// Finds the keys that have a row.
pub(in super::super) const FIND_EXISTING: &str =
    concat!("/* find_existing */\nSELECT l.tenant, l.`key`\n", from_keys!("", "STRAIGHT_JOIN"));

/// Added to [`FIND_EXISTING`] to select only rows that can be locked at once. MySQL has to know that the keys' own rows
/// are meant: it refuses to lock rows of the JSON text when the statement is carried out again (error 3569). MariaDB
/// does not know `OF`.
pub(in super::super) const fn skip_locked(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "\nFOR UPDATE OF l SKIP LOCKED",
        Dialect::Sqlite | Dialect::Postgres | Dialect::MariaDb => "\nFOR UPDATE SKIP LOCKED",
    }
}

/// Removes waiters, by the index as above.
pub(in super::super) const WAITERS_GONE: &str = r"/* waiters_gone */
DELETE w
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]',
        c3 BIGINT PATH '$[2]'
    )) AS n
STRAIGHT_JOIN waiters w FORCE INDEX (PRIMARY)
    ON w.tenant = n.c1 COLLATE {binary} AND w.`key` = n.c2 COLLATE {binary} AND w.seq = n.c3";

/// Adds or changes waiters.
pub(in super::super) fn waiters_put() -> String {
    upsert("waiters", &Columns::of_waiters(), &Columns::set_in_waiters())
}

/// Adds or changes permits.
pub(in super::super) fn permits_put() -> String {
    upsert("permits", &Columns::of_permits(), &Columns::set_in_permits())
}

/// Loads keys' rows with the time, a row for each requested key.
pub(in super::super) fn load_rows() -> String {
    format!(
        "/* load */\nSELECT CAST(n.n AS SIGNED), {{now}},\n    {}\n{}",
        Columns::of_locks().list(|column| format!("l.{}", name(column))),
        from_keys!("n FOR ORDINALITY,\n        ", "LEFT JOIN")
    )
}

fn upsert(table: &str, columns: &Columns, changed: &Columns) -> String {
    let value = |column: &Column| match column.kind {
        ColumnType::Uuid => format!("UNHEX(n.c{})", column.number),
        _ => format!("n.c{}", column.number),
    };
    let read =
        |column: &Column| format!("c{} {} PATH '$[{}]'", column.number, json_type(column), column.number - 1);
    format!(
        "/* {table}_put */\nINSERT INTO {table} (\n    {})\nSELECT\n    {}\nFROM JSON_TABLE(?, '$[*]' COLUMNS (\n    {}\n    )) AS n\n\
         ON DUPLICATE KEY UPDATE\n    {}",
        columns.list(name),
        columns.list(value),
        columns.list(read),
        changed.list(|column| format!("{0} = VALUES({0})", column.name))
    )
}

/// A column's type in `JSON_TABLE`. UUIDs are 32 hex digits there.
fn json_type(column: &Column) -> String {
    match column.kind {
        ColumnType::String(StringLen::N(length)) => format!("VARCHAR({length}) CHARACTER SET utf8mb4"),
        ColumnType::Uuid => "CHAR(32)".to_owned(),
        ColumnType::Boolean => "TINYINT".to_owned(),
        ColumnType::Integer => "INT".to_owned(),
        ColumnType::BigInteger => "BIGINT".to_owned(),
        _ => "MEDIUMTEXT CHARACTER SET utf8mb4".to_owned(),
    }
}

pub(super) fn name(column: &Column) -> String {
    if column.name == "key" { "`key`".to_owned() } else { column.name.to_owned() }
}
