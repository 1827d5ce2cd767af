//! The schema of db-locks as a list of migrations: SQL texts for each dialect, without the code that runs them.
//!
//! A migration that has landed is never edited; a later one changes what it made. Each one creates only what is missing and
//! drops only what is there: on MySQL and MariaDB each DDL statement commits by itself, so a migration that was cut off must
//! be repeatable.

mod m20261123_000001_locks;
mod m20261123_000002_permits;
mod m20261123_000003_waiters;
mod m20261123_000004_replicas;
mod m20261123_000005_sweeping;
mod m20261126_000006_row_types;
mod m20261126_000007_locks_by_rowid;
mod m20261127_000008_ended_versions;
mod m20261127_000009_guards;
mod m20261127_000011_tokens;
mod m20261127_000012_forced_releases;
mod m20261128_000013_epoch;
mod m20261130_000014_children_by_rowid;

/// One migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The name under which it is recorded; that of its file.
    pub name: &'static str,
    /// The oldest migration that a program must know to go on working once this one is applied. `None`: the program must
    /// know this one.
    ///
    /// A migration is compatible with programs that do not know it if it only adds: a table, an index, a column with a
    /// default that they need not read. It is breaking if what they write would be wrong or incomplete afterwards, or if it
    /// changes a type of rows that they send: a new type gets a new name. Replicas of the older version go on serving while
    /// a compatible migration is applied, except on SQLite while it copies a table; after a breaking one they refuse writes.
    pub oldest: Option<&'static str>,
    /// Applies it.
    pub up: Sql,
    /// Undoes it.
    pub down: Sql,
}

/// Statements in each dialect, in the order in which they run. Keys compare byte for byte in all of them, times are epoch
/// milliseconds, and the unit is part of the column's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sql {
    /// For SQLite.
    pub sqlite: &'static [&'static str],
    /// For PostgreSQL.
    pub postgres: &'static [&'static str],
    /// For MySQL and MariaDB. `{binary}` stands for the collation that compares UTF-8 byte for byte, without padding: the
    /// two have different names for it.
    pub mysql: &'static [&'static str],
}

/// All migrations in their order.
pub const MIGRATIONS: &[Migration] = &[
    m20261123_000001_locks::MIGRATION,
    m20261123_000002_permits::MIGRATION,
    m20261123_000003_waiters::MIGRATION,
    m20261123_000004_replicas::MIGRATION,
    m20261123_000005_sweeping::MIGRATION,
    m20261126_000006_row_types::MIGRATION,
    m20261126_000007_locks_by_rowid::MIGRATION,
    m20261127_000008_ended_versions::MIGRATION,
    m20261127_000009_guards::MIGRATION,
    m20261127_000011_tokens::MIGRATION,
    m20261127_000012_forced_releases::MIGRATION,
    m20261128_000013_epoch::MIGRATION,
    m20261130_000014_children_by_rowid::MIGRATION,
];

/// The last migration of the first version, which made all of its tables.
const SWEEPING: &str = m20261123_000005_sweeping::MIGRATION.name;

/// Changed what programs write in `ended`.
const ENDED_VERSIONS: &str = m20261127_000008_ended_versions::MIGRATION.name;

/// The last breaking one.
const EPOCH: &str = m20261128_000013_epoch::MIGRATION.name;

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    /// Programs compare names, so a migration must not ask for one that never was.
    #[test]
    fn a_migration_asks_for_an_earlier_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            let is_earlier = |oldest| MIGRATIONS[..index].iter().any(|earlier| earlier.name == oldest);
            assert!(migration.oldest.is_none_or(is_earlier), "{}", migration.name);
        }
        assert!(MIGRATIONS.is_sorted_by(|one, other| one.name < other.name));
    }
}
