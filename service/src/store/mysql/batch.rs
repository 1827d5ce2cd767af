//! A batch as one text: a whole transaction in one round trip.
//!
//! The text is for the common case that every write wins. If a write loses, or a row that should be new exists, a
//! statement of the text fails. Then the server carries out none of the rest, the transaction is rolled back, and
//! nothing was written. After that, the batch is written step by step.
//!
//! On MariaDB the text is a block: the server answers it once, not each of its statements, and a node of a Galera
//! cluster needs it (see `sql::block`).

use super::{
    guards::GuardRows,
    sql::{READ_BACK, block, name},
    text::Text,
};
use crate::store::{
    children::keys_text,
    columns::{Column, Columns},
    dialect::Dialect,
    rows::{Cell, LockRow, changed_permits, permit_cells, waiter_cells},
};

/// The largest number. One more is an error, which ends the text.
const FAIL: i64 = i64::MAX;

/// The most bytes of a text that is sent: the server's limit may be 16 MiB.
const LONGEST: usize = 8 << 20;

/// The parts of the text that are the same for every batch.
#[derive(Debug)]
pub(in super::super) struct BatchSql {
    /// Whether the text is a block.
    is_block: bool,
    /// The text before the list of rows.
    insert_rows: String,
    /// The text between the list of rows that exist and the number that `ROW_COUNT` must have.
    update_known: String,
    /// The texts before and after the keys of new rows.
    read_back: (String, String),
    guards: GuardRows,
    insert_waiters: String,
    update_waiters: String,
    insert_permits: String,
    update_permits: String,
}

impl BatchSql {
    pub(in super::super) fn new(dialect: Dialect) -> Self {
        // MySQL warns of `VALUES()` each time, which takes as long as the assignment itself.
        let is_mysql = dialect == Dialect::MySql;
        let alias = if is_mysql { " AS n" } else { "" };
        let new = |column: &str| if is_mysql { format!("n.{column}") } else { format!("VALUES({column})") };
        let insert = |table: &str, columns: &Columns| {
            format!("INSERT INTO {table} (\n    {})\nVALUES\n    ", columns.list(name))
        };
        let update = |columns: &Columns| {
            let assign = |column: &Column| format!("{} = {}", column.name, new(column.name));
            format!("{alias}\nON DUPLICATE KEY UPDATE\n    {}", columns.list(assign))
        };
        let rows = Columns::set_by_writes().without(&["stamp"]);
        let stamp = format!(
            "stamp = IF(locks.stamp = {}, {}, {FAIL} + locks.kind + 3)",
            new("prev_stamp"),
            new("stamp")
        );
        let all_won = format!("SELECT NULL, 0, {}, {FAIL} + (ROW_COUNT() <> ", dialect.now());
        let read_back = dialect.sql(READ_BACK);
        let (before, after) = read_back.split_once('?').unwrap_or((&read_back, ""));
        Self {
            is_block: dialect == Dialect::MariaDb,
            insert_rows: format!("/* commit */\n{}", insert("locks", &Columns::of_locks())),
            update_known: format!("{},\n    {stamp};\n{all_won}", update(&rows)),
            read_back: (before.to_owned(), after.to_owned()),
            guards: GuardRows::new(dialect),
            insert_waiters: insert("waiters", &Columns::of_waiters()),
            update_waiters: update(&Columns::set_in_waiters()),
            insert_permits: insert("permits", &Columns::of_permits()),
            update_permits: update(&Columns::set_in_permits()),
        }
    }

    /// The transaction that writes these rows with their queues and permits; `None` if its text would be too long.
    pub(super) fn transaction(&self, rows: &[LockRow<'_>]) -> Option<String> {
        let mut text = Text::with_capacity(rows.len() * 600 + 2_000);
        text.raw("START TRANSACTION;\n");
        let (known, new): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_known());
        if !known.is_empty() {
            text.raw(&self.insert_rows);
            text.list(&known, |text, row| text.cells(row.cells()));
            text.raw(&self.update_known);
            // An updated row counts twice, a created row once.
            text.raw(known.len() * 2);
            text.raw(");\n");
        }
        if !new.is_empty() {
            text.raw(&self.insert_rows);
            text.list(&new, |text, row| text.new_row(row));
            text.raw(";\n");
            text.raw(&self.read_back.0);
            text.cell(Cell::Text(Some(&keys_text(new.iter().map(|row| &row.write.change.id)))));
            text.raw(&self.read_back.1);
            text.raw(";\n");
        }
        for row in rows {
            self.guards.add(&mut text, row);
        }
        self.add_children(&mut text, rows);
        text.raw("COMMIT");
        let sql = text.into_sql();
        let sql = if self.is_block { block(&sql) } else { sql };
        Some(sql).filter(|sql| sql.len() <= LONGEST)
    }

    /// The parts, for review.
    #[cfg(test)]
    pub(in super::super) fn parts(&self) -> [String; 4] {
        let read_back = format!("{}?{}", self.read_back.0, self.read_back.1);
        [
            format!("{}(?)\n{}?);\n{read_back}", self.insert_rows, self.update_known),
            self.guards.sql(),
            format!("{}(?)\n{}", self.insert_waiters, self.update_waiters),
            format!("{}(?)\n{}", self.insert_permits, self.update_permits),
        ]
    }

    fn add_children(&self, text: &mut Text, rows: &[LockRow<'_>]) {
        let (mut waiters, mut permits) = (Vec::new(), Vec::new());
        for LockRow { write, .. } in rows {
            let id = &write.change.id;
            if let Some(from) = write.change.cleared_from {
                text.raw("DELETE FROM permits WHERE ");
                text.of_key(id);
                text.raw(" AND slot >= ");
                text.raw(from);
                text.raw(";\n");
            }
            let gone = write.change.waiters.iter().filter(|(_, waiter)| waiter.is_none());
            let gone = gone.map(|(seq, _)| *seq).collect::<Vec<_>>();
            if !gone.is_empty() {
                text.raw("DELETE FROM waiters WHERE ");
                text.of_key(id);
                text.raw(" AND seq IN (");
                text.list(&gone, |text, seq| text.raw(seq));
                text.raw(");\n");
            }
            waiters.extend(write.change.waiters.values().flatten().map(|waiter| waiter_cells(id, waiter)));
            permits.extend(changed_permits(write).map(|permit| permit_cells(id, permit)));
        }
        text.upsert(&self.insert_waiters, &waiters, &self.update_waiters);
        text.upsert(&self.insert_permits, &permits, &self.update_permits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards invariant 1: a node of a cluster may commit one of several statements in a text alone.
    #[test]
    fn on_mariadb_which_may_be_a_node_of_a_cluster_the_text_is_one_statement() {
        let text = |dialect| BatchSql::new(dialect).transaction(&[]);
        assert_eq!(text(Dialect::MySql).as_deref(), Some("START TRANSACTION;\nCOMMIT"));
        let block = "/* commit */\nBEGIN NOT ATOMIC\nSTART TRANSACTION;\nCOMMIT;\nEND";
        assert_eq!(text(Dialect::MariaDb).as_deref(), Some(block));
    }
}
