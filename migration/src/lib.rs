//! The schema of db-locks, step by step. A migration that has landed is never edited; a later one changes what it made.
//!
//! Every migration creates what is not there and drops what is: on MySQL and MariaDB DDL commits by itself, so a step
//! that was cut off has to be repeatable.

#![expect(elided_lifetimes_in_paths, reason = "the trait of the migrations is written so")]

mod dialect;
mod m20261123_000001_locks;
mod m20261123_000002_permits;
mod m20261123_000003_waiters;
mod m20261123_000004_replicas;
mod m20261123_000005_sweeping;
mod m20261126_000006_row_types;
mod m20261126_000007_locks_by_rowid;
mod m20261127_000008_ended_versions;

pub use sea_orm_migration::{MigrationTrait, SchemaManager};

/// A step of the schema.
pub struct Step {
    /// What it does.
    pub migration: Box<dyn MigrationTrait>,
    /// The oldest migration that a program has to know to go on working once this one is applied. `None`: it has to know this
    /// one.
    ///
    /// A step is compatible with programs that do not know it when it only adds: a table, an index, a column that has a
    /// default and that they need not read. It is not when what they write would be wrong or incomplete afterwards, nor when
    /// it changes a type of rows that they send: a new type has a new name. Replicas
    /// of the older version go on serving while a compatible step is applied; at any other they refuse writes.
    pub oldest: Option<&'static str>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name())
            .field("oldest", &self.oldest)
            .finish_non_exhaustive()
    }
}

impl Step {
    /// A step that every program has to know.
    fn breaking(migration: impl MigrationTrait + 'static) -> Self {
        Self { migration: Box::new(migration), oldest: None }
    }

    /// A step that programs can live with that know `oldest`.
    fn compatible(migration: impl MigrationTrait + 'static, oldest: &'static str) -> Self {
        Self { migration: Box::new(migration), oldest: Some(oldest) }
    }

    /// The migration's name, under which it is recorded.
    pub fn name(&self) -> &str {
        self.migration.name()
    }
}

/// All steps in their order.
pub fn steps() -> Vec<Step> {
    vec![
        // The first version's tables: a program that lacks one of them lacks what it works with.
        Step::breaking(m20261123_000001_locks::Migration),
        Step::breaking(m20261123_000002_permits::Migration),
        Step::breaking(m20261123_000003_waiters::Migration),
        Step::breaking(m20261123_000004_replicas::Migration),
        Step::breaking(m20261123_000005_sweeping::Migration),
        // Adds types that older programs do not name.
        Step::compatible(m20261126_000006_row_types::Migration, SWEEPING),
        // The same table with the same columns, stored in another way.
        Step::compatible(m20261126_000007_locks_by_rowid::Migration, SWEEPING),
        // Ended versions in a form that older programs cannot read.
        Step::breaking(m20261127_000008_ended_versions::Migration),
    ]
}

/// The last step that every program has to know.
const SWEEPING: &str = "m20261123_000005_sweeping";

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs compare names, so a step must not ask for one that never was.
    #[test]
    fn a_step_asks_for_an_earlier_one() {
        let steps = steps();
        for (index, step) in steps.iter().enumerate() {
            let is_earlier = |oldest| steps[..index].iter().any(|earlier| earlier.name() == oldest);
            assert!(step.oldest.is_none_or(is_earlier), "{step:?}");
        }
        assert!(steps.is_sorted_by(|one, other| one.name() < other.name()));
    }
}
