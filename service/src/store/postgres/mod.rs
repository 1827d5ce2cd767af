//! PostgreSQL: statements, writing of batches, loading of rows, notifications, and the proof of replication.

mod bind;
mod clauses;
mod commit;
mod load;
mod notices;
mod notifications;
mod replication;
mod session;
pub(super) mod sql;

pub use self::session::PLANNER_SETTINGS;
pub(super) use self::{
    notifications::PgNotifications,
    replication::Replication,
    session::{migration_session, plain_options, pools_transactions},
};
