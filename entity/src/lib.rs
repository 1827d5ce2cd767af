//! The tables as SeaORM entities, one file for each table, no logic. Times are epoch milliseconds of the database's
//! clock.

pub mod locks;
pub mod permits;
pub mod replicas;
pub mod sweep_lease;
pub mod token_floors;
pub mod tokens;
pub mod waiters;
