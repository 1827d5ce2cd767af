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

pub use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All migrations in their order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_locks::Migration),
            Box::new(m20261123_000002_permits::Migration),
            Box::new(m20261123_000003_waiters::Migration),
            Box::new(m20261123_000004_replicas::Migration),
            Box::new(m20261123_000005_sweeping::Migration),
            Box::new(m20261126_000006_row_types::Migration),
            Box::new(m20261126_000007_locks_by_rowid::Migration),
            Box::new(m20261127_000008_ended_versions::Migration),
        ]
    }
}
