//! Statements of the hot path of MariaDB and MySQL.
//!
//! `ON DUPLICATE KEY UPDATE` has no condition, so every assignment has it: `IF(stamp = VALUES(prev_stamp), …)`. An assignment sees
//! the results of those before it, so `stamp`, on which the condition depends, comes last. The number of affected rows says
//! nothing (the driver asks for found rows); a write has won if its row version is in the row afterwards.
//!
//! A write decided on a row must not create one: the row may have been swept meanwhile. A row that was created so has a
//! `prev_stamp`, which no committed row has; by which readers pass over it, and which makes MariaDB's statement fail; it is deleted again (see `commit`).

use std::sync::{Arc, OnceLock};

use sea_orm::{ColumnType, sea_query::StringLen};

use crate::domain::TOKENS_OF_AN_EPOCH;
use crate::store::{
    columns::{Column, Columns},
    dialect::Dialect,
};

/// The numbers of rows that have a statement. Each is at most half more than the one before, so little is written twice.
const ROWS: [usize; 18] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256];

/// Conditional upserts of keys' rows, a text for each number of rows. Lists of values are what these servers carry out fastest:
/// a row out of `JSON_TABLE` took four times as long, since each column scans the row's text anew.
///
/// A batch is filled up with its last row to the next number that has a text: when it is written a second time, the row no
/// longer has the version that the write was decided on.
#[derive(Debug)]
pub(in super::super) struct Upserts {
    returning: &'static str,
    /// Whether each text is a block with a transaction of its own, for a node of a Galera cluster.
    is_block: bool,
    /// For each number of rows the texts of [`Shape::Known`] and [`Shape::Mixed`], made when they are first needed.
    texts: [[OnceLock<Arc<str>>; 2]; ROWS.len()],
}

/// The rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shape {
    /// All of them exist.
    Known,
    /// Some may be new. Each row has two more values behind its token: the token once more, and the tenant above whose floor its
    /// tokens begin, which is read in this very statement, or NULL where the row exists.
    Mixed,
}

impl Upserts {
    pub(in super::super) fn new(dialect: Dialect) -> Self {
        let returning = if dialect == Dialect::MariaDb { RETURNING } else { "" };
        Self { returning, is_block: false, texts: Default::default() }
    }

    /// The same statements, each with a transaction around it, for a node of a Galera cluster: see `block`.
    pub(in super::super) fn in_blocks(dialect: Dialect) -> Self {
        Self { is_block: true, ..Self::new(dialect) }
    }

    /// The statement for at least so many rows, and the number of rows it takes. `None` where no statement has so many.
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

/// Statements as one, for a node of a Galera cluster. When another node's commit undoes a transaction there, the server goes on with
/// a text of several statements, and carries the next one out by itself, as a transaction of its own. A block ends. And what was
/// certified before is carried out once more, and then answered with its success only: a block has sent its rows by then, since
/// `COMMIT` is a statement of its own.
pub(super) fn block(statements: &str) -> String {
    format!("/* commit */\nBEGIN NOT ATOMIC\n{statements};\nEND")
}

/// What MariaDB's upserts return: the rows as they are afterwards, whoever won. If a row was created by a write that was decided
/// on a row, the last column overflows, and the statement fails.
const RETURNING: &str = "\nRETURNING stamp, token, CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED), \
                         9223372036854775807 + (prev_stamp IS NOT NULL)";

/// The keys of a JSON text with their rows. `{outer}` stands for more columns.
macro_rules! from_keys {
    ($ordinality:literal, $join:literal) => {
        concat!(
            "FROM JSON_TABLE(?, '$[*]' COLUMNS (\n        ",
            $ordinality,
            "c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',\n        \
             c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]'\n    )) AS n\n",
            $join,
            " locks l ON l.tenant = n.c1 COLLATE {binary} AND l.`key` = n.c2 COLLATE {binary}"
        )
    };
}

/// The rows after an upsert on MySQL, and whether a row was created by a write that was decided on one.
pub(in super::super) const READ_BACK: &str = concat!(
    "/* read_back */\nSELECT l.stamp, l.token, {now}, l.prev_stamp IS NOT NULL, l.tenant, l.`key`\n",
    from_keys!("", "STRAIGHT_JOIN")
);

/// Keys with a row.
pub(in super::super) const FIND_EXISTING: &str =
    concat!("/* find_existing */\nSELECT l.tenant, l.`key`\n", from_keys!("", "STRAIGHT_JOIN"));

/// Added to [`FIND_EXISTING`]: only rows that can be locked at once. MySQL has to know that the keys' own rows are meant: it
/// refuses to lock those of the JSON text when the statement is carried out again (error 3569). MariaDB knows no such words.
pub(in super::super) const fn skip_locked(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "\nFOR UPDATE OF l SKIP LOCKED",
        Dialect::Sqlite | Dialect::Postgres | Dialect::MariaDb => "\nFOR UPDATE SKIP LOCKED",
    }
}

/// Waiters that leave.
pub(in super::super) const WAITERS_GONE: &str = r"/* waiters_gone */
DELETE w
FROM JSON_TABLE(?, '$[*]' COLUMNS (
        c1 VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]',
        c2 VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[1]',
        c3 BIGINT PATH '$[2]'
    )) AS n
STRAIGHT_JOIN waiters w
    ON w.tenant = n.c1 COLLATE {binary} AND w.`key` = n.c2 COLLATE {binary} AND w.seq = n.c3";

/// Waiters that are added or change.
pub(in super::super) fn waiters_put() -> String {
    put("waiters", &Columns::of_waiters(), &Columns::set_in_waiters())
}

/// Permits that are added or change.
pub(in super::super) fn permits_put() -> String {
    put("permits", &Columns::of_permits(), &Columns::set_in_permits())
}

/// Keys' rows with the time, a row for each requested key.
pub(in super::super) fn load_rows() -> String {
    format!(
        "/* load */\nSELECT CAST(n.n AS SIGNED), {{now}},\n    {}\n{}",
        Columns::of_locks().list(|column| format!("l.{}", name(column))),
        from_keys!("n FOR ORDINALITY,\n        ", "LEFT JOIN")
    )
}

fn put(table: &str, columns: &Columns, changed: &Columns) -> String {
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
