//! The connection to the database fails: it is cut or refused, or answers are lost after the statement was executed.

/// Makes a test of each case and database server. `SQLite` has no connection that could fail.
macro_rules! on_every_server {
    ($($case:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test] async fn $case() {
                crate::conformance::with_database(crate::support::Dialect::Postgres, super::$case).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test] async fn $case() {
                crate::conformance::with_database(crate::support::Dialect::MariaDb, super::$case).await;
            })+
        }
        mod mysql {
            $(#[tokio::test] async fn $case() {
                crate::conformance::with_database(crate::support::Dialect::MySql, super::$case).await;
            })+
        }
    };
}

mod away;
mod disk_full;
mod failover;
mod firewall;
mod killed;
mod listener;
mod lossy;
pub(crate) mod proxy;
mod read_only;
mod run_command;
mod standby;
mod storm;
mod unknown_fate;
mod vanished;
