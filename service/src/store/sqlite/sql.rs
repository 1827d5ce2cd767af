//! SQLite's statements of the hot path: one row each, by primary key, prepared once on the connection that uses them.

use crate::domain::TOKENS_OF_AN_EPOCH;
use crate::store::columns::{Column, Columns};

/// Changes the row that a write was decided on; `?4` is the version that the row had. Never creates a row: it may have
/// been swept meanwhile.
pub(in super::super) fn update() -> String {
    let assignments = Columns::set_by_writes().list(|column| format!("{} = ?{}", column.name, column.number));
    format!(
        "/* commit */\nUPDATE locks SET\n    {assignments}\nWHERE tenant = ?1 AND \"key\" = ?2 AND stamp = ?4"
    )
}

/// Creates a key's row. The row's tokens begin above the tenant's floor, which the same statement reads.
pub(in super::super) fn insert() -> String {
    let columns = Columns::of_locks().without(&["prev_stamp"]);
    let values = columns.list(|column| match column.name {
        "token" => format!(
            "max(?{0}, ?{0} % {TOKENS_OF_AN_EPOCH} + coalesce((SELECT f.floor FROM token_floors f WHERE f.tenant = ?1), 0))",
            column.number
        ),
        _ => parameter(column),
    });
    format!(
        "/* commit */\nINSERT INTO locks (\n    {})\nVALUES (\n    {values})\nON CONFLICT (tenant, \"key\") DO NOTHING\n\
         RETURNING token",
        columns.names()
    )
}

/// Removes a waiter.
pub(in super::super) const WAITER_GONE: &str = r#"/* waiters_gone */
DELETE FROM waiters WHERE tenant = ?1 AND "key" = ?2 AND seq = ?3"#;

/// Adds or changes a waiter.
pub(in super::super) fn waiter_put() -> String {
    upsert("waiters", &Columns::of_waiters(), "seq", &Columns::set_in_waiters())
}

/// Adds or changes a permit.
pub(in super::super) fn permit_put() -> String {
    upsert("permits", &Columns::of_permits(), "slot", &Columns::set_in_permits())
}

/// Makes a guard row name a grant, or none.
pub(in super::super) const GUARD_PUT: &str = r#"/* guard */
INSERT INTO db_locks_guards (tenant, "key", slot, version, token, granted_at, identity, uses)
VALUES (?1, ?2, ?3, ?4, ?5, CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER), '', 0)
ON CONFLICT (tenant, "key", slot) DO UPDATE SET
    previous = coalesce(version, previous), version = excluded.version, token = excluded.token,
    granted_at = excluded.granted_at"#;

/// Removes the permits of a key from a slot on.
pub(in super::super) const PERMITS_CLEAR: &str = r#"/* permits_clear */
DELETE FROM permits WHERE tenant = ?1 AND "key" = ?2 AND slot >= ?3"#;

/// Reads a key's row.
pub(in super::super) fn load_row() -> String {
    let names = Columns::of_locks().names();
    format!("/* load */\nSELECT\n    {names}\nFROM locks WHERE tenant = ?1 AND \"key\" = ?2")
}

fn upsert(table: &str, columns: &Columns, order: &str, changed: &Columns) -> String {
    format!(
        "/* {table}_put */\nINSERT INTO {table} (\n    {})\nVALUES (\n    {})\n\
         ON CONFLICT (tenant, \"key\", {order}) DO UPDATE SET\n    {}",
        columns.names(),
        columns.list(parameter),
        changed.excluded()
    )
}

fn parameter(column: &Column) -> String {
    format!("?{}", column.number)
}
