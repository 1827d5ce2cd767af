//! Writes changes of guarded keys in one round trip. On MariaDB a single change of a mutex is one prepared statement.
//! Any other change is a part of its batch's text.
//!
//! Nothing waits for a guard row. On MariaDB the lock timeout is 0 for the statement that writes it. On MySQL a
//! statement with `NOWAIT` locks it first.

use std::sync::Arc;

use sea_orm::sqlx::{Arguments, error::BoxDynError, mysql::MySqlArguments};

use super::{sql::name, text::Text};
use crate::{
    domain::Body,
    store::{
        Write,
        columns::Columns,
        dialect::Dialect,
        rows::{Cell, LockRow, with_cell},
    },
};

/// The outcomes of `commit_guarded`: the race was lost, the change is committed, or the guard row is locked.
const RACE_LOST: i64 = 0;
pub(super) const COMMITTED: i64 = 1;
pub(super) const GUARD_LOCKED: i64 = 2;

/// The parameters of a change of one mutex and its guard row, and of nothing else; `None` for any other change.
pub(super) fn arguments(writes: &[Write]) -> Result<Option<MySqlArguments>, BoxDynError> {
    let [write] = writes else { return Ok(None) };
    let row = LockRow::of(write);
    let (Some(edit), true) = (write.change.only_guard_edit(), row.is_known()) else { return Ok(None) };
    let [tenant, key, stamp, prev_stamp, rest @ ..] = row.cells();
    let guard = [Cell::Uuid(edit.version.map(|version| version.0)), Cell::Big(Some(edit.token.0))];
    let mut arguments = MySqlArguments::default();
    let cells = [stamp].into_iter().chain(rest).chain([tenant, key, prev_stamp, tenant, key]).chain(guard);
    for cell in cells {
        with_cell!(cell, value => arguments.add(value))?;
    }
    Ok(Some(arguments))
}

/// The statement for a change of one mutex and its guard row, on MariaDB. It is a block, so it is prepared once like
/// any other statement.
pub(in super::super) fn commit_guarded(dialect: Dialect) -> Option<Arc<str>> {
    if dialect != Dialect::MariaDb {
        return None;
    }
    let set = Columns::set_by_writes().list(|column| format!("{} = ?", name(column)));
    let GuardRows { insert, update, .. } = GuardRows::new(dialect);
    let (now, ending) = (dialect.now(), GuardRows::ENDING);
    let sql = format!(
        "/* commit_guarded */\nBEGIN NOT ATOMIC
    DECLARE outcome INT DEFAULT {RACE_LOST};
    START TRANSACTION;
    UPDATE locks SET
    {set}
    WHERE tenant = ? AND `key` = ? AND stamp = ?;
    IF ROW_COUNT() = 1 THEN
        BEGIN
            DECLARE EXIT HANDLER FOR 1205 SET outcome = {GUARD_LOCKED};
            {insert}(?, ?, 0, ?, ?{ending}{update};
            SET outcome = {COMMITTED};
        END;
    END IF;
    SELECT outcome, {now};
    IF outcome = {COMMITTED} THEN COMMIT; ELSE ROLLBACK; END IF;
END"
    );
    Some(sql.into())
}

/// The parts of the statements that write guard rows within a text.
#[derive(Debug)]
pub(super) struct GuardRows {
    /// Locks the guard rows of a key; empty if `insert` does not wait for them.
    lock: &'static str,
    /// The text before the list of rows.
    insert: String,
    /// The text after the list of rows.
    update: String,
}

impl GuardRows {
    /// The last values of every row.
    const ENDING: &str = ", SYSDATE(6), '', 0)";

    pub(super) fn new(dialect: Dialect) -> Self {
        let is_mysql = dialect == Dialect::MySql;
        let lock = if is_mysql { "/* guard_lock */ SELECT NULL FROM db_locks_guards WHERE " } else { "" };
        let wait = if is_mysql { "" } else { "SET STATEMENT innodb_lock_wait_timeout = 0 FOR " };
        let alias = if is_mysql { " AS n" } else { "" };
        let new = |column: &str| if is_mysql { format!("n.{column}") } else { format!("VALUES({column})") };
        Self {
            lock,
            insert: format!(
                "{wait}INSERT INTO db_locks_guards\n    \
                 (tenant, `key`, slot, version, token, granted_at, identity, uses)\nVALUES\n    "
            ),
            update: format!(
                "{alias}\nON DUPLICATE KEY UPDATE\n    \
                 previous = COALESCE(db_locks_guards.version, db_locks_guards.previous),\n    \
                 version = {}, token = {},\n    granted_at = GREATEST(SYSDATE(6), db_locks_guards.granted_at)",
                new("version"),
                new("token")
            ),
        }
    }

    /// Adds the guard rows of a write. Its transaction holds the key's row by now.
    pub(super) fn add(&self, text: &mut Text, row: &LockRow<'_>) {
        let (change, id) = (&row.write.change, &row.write.change.id);
        let edits = if change.needs_guard_rows() { change.guard_edits() } else { Vec::new() };
        if edits.is_empty() {
            return;
        }
        if !self.lock.is_empty() {
            text.raw(self.lock);
            text.of_key(id);
            text.raw(" AND slot IN (");
            text.list(&edits, |text, edit| text.raw(edit.slot));
            text.raw(") FOR UPDATE NOWAIT;\n");
        }
        // The token of a new mutex may have been raised, so it is read from the key's row.
        let is_raised = !row.is_known() && !matches!(change.state.body, Body::Semaphore(_));
        text.raw(&self.insert);
        text.list(&edits, |text, edit| {
            text.raw('(');
            text.cell(Cell::Text(Some(id.tenant.as_str())));
            text.raw(", ");
            text.cell(Cell::Text(Some(id.key.as_str())));
            text.raw(format_args!(", {}, ", edit.slot));
            text.cell(Cell::Uuid(edit.version.map(|version| version.0)));
            text.raw(", ");
            if is_raised {
                text.raw("(SELECT l.token FROM locks l WHERE ");
                text.of_key(id);
                text.raw(')');
            } else {
                text.raw(edit.token.0);
            }
            text.raw(Self::ENDING);
        });
        text.raw(&self.update);
        text.raw(";\n");
    }

    /// The statements, for review.
    #[cfg(test)]
    pub(super) fn sql(&self) -> String {
        let lock =
            if self.lock.is_empty() { String::new() } else { format!("{}? FOR UPDATE NOWAIT;\n", self.lock) };
        format!("{lock}{}(?{}{}", self.insert, Self::ENDING, self.update)
    }
}
